"""What a backward pass will take, known before it starts, and how many steps fit a budget.

Autograd keeps tensors for the backward pass. How many bytes these are is measured by a forward pass
of a small image with the same network, which costs little, and grows with the area.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gsto_viz.attribution.interventions import Intervention, intervene
from gsto_viz.errors import GstoVizError

GIB = 2**30
DEFAULT_BUDGET = 4 * GIB
PROBE_SIDE = 128
"""Height and width of the probe: a whole number of cells on every grid of our networks."""
BUFFERS = 3
"""Gradients and results that are alive beside the saved tensors, in units of the largest one."""


@dataclass(frozen=True)
class MemoryEstimate:
    """How the steps of a path integral are cut up.

    Attributes:
        per_row: Bytes that one image at one step takes.
        rows: Images times steps at once.
        total_rows: Images times steps altogether.
        budget: Bytes allowed.
    """

    per_row: int
    rows: int
    total_rows: int
    budget: int

    @property
    def peak(self) -> int:
        """Bytes at once, besides the network itself."""
        return self.per_row * min(self.rows, self.total_rows)

    def __str__(self) -> str:
        return (
            f"about {self.peak / GIB:.2f} GiB for {min(self.rows, self.total_rows)} of "
            f"{self.total_rows} steps at once ({self.per_row / GIB:.3f} GiB each, budget "
            f"{self.budget / GIB:g} GiB)"
        )


def free_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return what this machine can still give without swapping; None where it does not say."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def estimate_memory(
    model: nn.Module, image: Tensor, paths: Sequence[str] | None, steps: int, budget: int
) -> MemoryEstimate:
    """Choose how many steps to work on at once.

    Args:
        model: A network whose parameters ask for no gradients.
        image: (N, 3, H, W).
        paths: Places from which on gradients are taken; None: from the image.
        steps: Of the path, each with N images.
        budget: Bytes.

    Raises:
        GstoVizError: One step of one image does not fit.
    """
    height, width = image.shape[-2:]
    side = (min(PROBE_SIDE, height), min(PROBE_SIDE, width))
    per_row = saved_bytes(model, image[:1, :, : side[0], : side[1]], paths)
    per_row = round(per_row * (height * width) / (side[0] * side[1]))
    total = steps * image.shape[0]
    # Captum keeps the rows of one step together: chunks are whole steps.
    rows = max(image.shape[0], budget // per_row // image.shape[0] * image.shape[0])
    if per_row * image.shape[0] > budget:
        raise GstoVizError(
            f"one step of {image.shape[0]} images {height}x{width} takes about "
            f"{per_row * image.shape[0] / GIB:.2g} GiB and the budget is {budget / GIB:.2g} GiB; "
            "allow more, give fewer or smaller images, or take later taps"
        )
    return MemoryEstimate(per_row, int(min(rows, total)), total, budget)


def saved_bytes(model: nn.Module, image: Tensor, paths: Sequence[str] | None) -> int:
    """Count what one forward pass of ``image`` keeps for the backward pass, in bytes.

    Weights are not counted, tensors that share memory are counted once, and room for the gradients
    of the largest ones is added.
    """
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    seen: dict[int, int] = {}
    kept: list[Tensor] = []  # alive until the end, so that no memory is counted twice or missed

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    def unpack(tensor: Tensor) -> Tensor:
        return tensor

    begin = image.detach().clone().requires_grad_(paths is None)
    changes = [Intervention(path, _leaf, "leaf") for path in paths or ()]
    hooks: Any = torch.autograd.graph.saved_tensors_hooks(pack, unpack)
    with torch.enable_grad(), intervene(model, *changes), hooks:
        model(begin)
    return sum(seen.values()) + BUFFERS * max(seen.values(), default=0) + begin.nbytes


def _leaf(output: Tensor) -> Tensor:
    """Return the same numbers as the beginning of a graph."""
    return output.detach().clone().requires_grad_()
