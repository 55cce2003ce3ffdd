"""The loss of pose networks: heat maps of joints against Gaussians, with deep supervision.

Targets and loss are those of HRNet's code (Sun et al., CVPR 2019;
github.com/leoxiaobin/deep-high-resolution-net.pytorch, ``generate_target`` of
``lib/dataset/JointsDataset.py`` and ``JointsMSELoss`` of ``lib/core/loss.py``). It says nothing of
auxiliary heads; they have the same loss.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.models.base import SegmentationOutput
from gsto_viz.models.losses import with_auxiliary_losses

CUTOFF_SIGMAS = 3
"""Beyond so many standard deviations, on either axis, a target is 0."""


def joint_targets(
    joints: Tensor, size: tuple[int, int], stride: int, sigma: float
) -> tuple[Tensor, Tensor]:
    """Draw the heat maps that a network should give.

    A joint's map is a Gaussian with a peak of 1 on the cell nearest to it, within a square of
    three standard deviations, cut off at the borders.

    Args:
        joints: (N, J, 3): x and y in pixels of the network's input, and 0 where not annotated.
        size: Height and width of the maps.
        stride: Pixels per cell; cell k lies at pixel ``stride`` k.
        sigma: Standard deviation in cells.

    Returns:
        Maps (N, J, *size), and weights (N, J), 1 or 0: of joints that are not annotated, or whose
        square lies outside; their maps are 0. In the dtype and on the device of ``joints``.
    """
    # Not floor: joints less than half a cell beside the left border are at cell 0, as in the code.
    cells = torch.trunc(joints[..., :2] / stride + 0.5)
    height, width = size
    columns, rows = (
        _profile(cells[..., axis, None], length, sigma)
        for axis, length in enumerate((width, height))
    )
    seen = columns.any(dim=-1) & rows.any(dim=-1) & (joints[..., 2] > 0)
    weights = seen.to(joints.dtype)
    return rows[..., :, None] * columns[..., None, :] * weights[..., None, None], weights


def _profile(centers: Tensor, length: int, sigma: float) -> Tensor:
    """Return Gaussians along one axis, (..., length), around centres (..., 1)."""
    away = torch.arange(length, dtype=centers.dtype, device=centers.device) - centers
    return torch.exp(-(away**2) / (2 * sigma**2)) * (away.abs() <= CUTOFF_SIGMAS * sigma)


def joint_mass(joints: Tensor) -> Tensor:
    """Return what a mean over persons is divided by, their number, as a float32 scalar."""
    return torch.tensor(float(len(joints)), device=joints.device)


def joint_loss(
    output: SegmentationOutput,
    joints: Tensor,
    *,
    stride: int,
    sigma: float,
    auxiliary_weights: Mapping[str, float] | None = None,
    mass: Tensor | None = None,
) -> Tensor:
    """Return half the squared error of heat maps, mean over cells, joints and persons.

    Joints of weight 0 add no error but count in the mean. A batch may be shared by processes and
    computed in parts: each call then gives a share of the batch's loss, and the shares add up to
    the loss of the whole batch.

    Args:
        output: Result of a network; its auxiliary heat maps each need a weight.
        joints: (N, J, 3) as for ``joint_targets``.
        stride: Pixels per cell of the heat maps.
        sigma: Standard deviation of the targets, cells.
        auxiliary_weights: Weight by stage name; stages that the network lacks are not used.
        mass: ``joint_mass`` of the whole batch over all parts and processes; None: of ``joints``.

    Raises:
        GstoVizError: Heat maps are not those of so many joints, or an auxiliary head has no weight.
    """
    height, width = (int(side) for side in output.logits.shape[-2:])
    targets, weights = joint_targets(joints, (height, width), stride, sigma)
    total = joint_mass(joints) if mass is None else mass

    def half_squared_error(maps: Tensor) -> Tensor:
        if maps.shape != targets.shape:
            raise GstoVizError(
                f"the network returns {_by(maps)} and the joints make {_by(targets)} heat maps "
                "(persons x joints x height x width); take data with the network's joints"
            )
        full = maps if maps.dtype == torch.float64 else maps.float()
        error = ((full - targets) * weights[..., None, None]) ** 2
        cells = targets.shape[1] * height * width
        return 0.5 * error.sum() / cells / total.clamp(min=1e-12)

    loss = half_squared_error(output.logits)
    return with_auxiliary_losses(loss, output, auxiliary_weights, half_squared_error)


def _by(maps: Tensor) -> str:
    return "x".join(map(str, maps.shape))
