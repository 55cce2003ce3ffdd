"""Scale equalizers (Kim and Kim, TMLR 2024, arXiv:2402.01149): branches of one variance.

Parallel branches enter a fusion with unequal scale, not least because bilinear resizing takes
variance away, and those of smaller scale get smaller gradients. An equalizer stands behind the
resizing and in front of the concatenation: SE(x) = (x - mu) / sigma, with mu and sigma one number
each for a branch, over all images, channels and positions of a data set. They are fixed, not
learned.

No implementation is public: this is our reconstruction, and so is the moment of estimation (start
weights, evaluation mode, before the first step).
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError
from gsto_viz.models.base import SegmentationNetwork
from gsto_viz.models.blocks import Equalizer, spatial_size
from gsto_viz.torch_utils import eval_mode, run_network

LEAST_SHARE = 1e-12
"""A site is constant where its variance is no more than this share of its mean square."""


class Equalizers(nn.ModuleList):
    """One equalizer for each branch that enters a head.

    Attributes:
        channels: C_r of each branch.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(Equalizer() for _ in channels)
        self.channels = tuple(channels)


def equalizers(channels: Sequence[int], *, wanted: bool) -> Equalizers | None:
    """Make the equalizers of a head, or nothing."""
    return Equalizers(channels) if wanted else None


def join(maps: Sequence[Tensor], resizes: nn.ModuleList, each: Equalizers | None) -> Tensor:
    """Bring the last maps to the grid of the first, equalize all, and concatenate by channel.

    Args:
        maps: (N, C_r, h_r, w_r); those without a resize have the grid of the first.
        resizes: One for each of the last maps.
        each: One for each map; None: they enter as they are.
    """
    size, kept = spatial_size(maps[0]), len(maps) - len(resizes)
    brought = [resize(x, size) for resize, x in zip(resizes, maps[kept:], strict=True)]
    maps = [*maps[:kept], *brought]
    if each is not None:
        maps = [one(x) for one, x in zip(each, maps, strict=True)]
    return torch.cat(list(maps), dim=1)


def sites(model: nn.Module) -> dict[str, Equalizer]:
    """Return the equalizers of a network by name, in the order of computation."""
    return {name: one for name, one in model.named_modules() if isinstance(one, Equalizer)}


def equalizer_weights(model: nn.Module) -> list[str]:
    """Return the names of the numbers of all equalizers in a network's state."""
    return [f"{name}.{part}" for name in sites(model) for part in ("mean", "deviation")]


def estimate_equalizers(
    model: SegmentationNetwork,
    image: Callable[[int], Tensor],
    count: int,
    *,
    world: World = ALONE,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Set every equalizer to mean and population deviation of what enters it over some images.

    Each image is a block: its sums are float64, and those of all images are added exactly, so that
    neither their order nor the number of processes matters. Images go through the network in
    evaluation mode, once for each concatenation with equalizers: what leaves one may enter the
    next. Only GSTO-HRNet, UPerNet and DeepLabV3+ have more than one.

    Args:
        model: A network with equalizers; they are set when all is known, else left as they were.
        image: Returns an image by its number, (1, 3, H, W), normalised, on the network's device.
        count: How many images there are.
        world: The processes that share them.
        progress: Called after each image.

    Raises:
        GstoVizError: The network has no equalizer, there are no images, the network does not take
            one, or a site has no variance (it is named).
    """
    found = sites(model)
    if not found:
        raise GstoVizError("this network has no equalizers; make it with equalized=True")
    if count < 1:
        raise GstoVizError("there are no images to estimate equalizers from; give some")
    before = {name: (float(one.mean), float(one.deviation)) for name, one in found.items()}
    try:
        for group in passes(model):
            sums = _sums(model, group, image, count, world, progress)
            for name, values in zip(group, sums, strict=True):
                _set(found[name], *_moments(name, values))
    except BaseException:
        for name, values in before.items():
            _set(found[name], *values)
        raise


def passes(model: nn.Module) -> list[list[str]]:
    """Return the names of the equalizers of each concatenation, in the order of computation."""
    groups: dict[str, list[str]] = {}
    for name in sites(model):
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    return list(groups.values())


def disequilibrium(model: nn.Module) -> dict[str, float]:
    """Return log2 of the greatest over the least variance in each concatenation, in octaves.

    What its equalizers take away: on the images of their estimate it is 0 behind them.
    """
    found = sites(model)
    octaves = {}
    for group in passes(model):
        deviations = [float(found[name].deviation) for name in group]
        octaves[group[0].split(".equalizers")[0]] = 2 * math.log2(max(deviations) / min(deviations))
    return octaves


def check_equalizers(model: nn.Module, *, source: str) -> None:
    """Refuse equalizers that no estimate gives.

    Raises:
        GstoVizError: A mean is not finite, or a deviation is not a positive number (which one).
    """
    for name, one in sites(model).items():
        mean, deviation = float(one.mean), float(one.deviation)
        if not (math.isfinite(mean) and 0 < deviation < math.inf):
            raise GstoVizError(
                f"{source} has a damaged equalizer {name} (mean {mean:g}, deviation {deviation:g})"
                "; take another copy or equalize anew"
            )


def _set(one: Equalizer, mean: float, deviation: float) -> None:
    one.mean.fill_(mean)
    one.deviation.fill_(deviation)


@torch.no_grad()
def _sums(
    model: SegmentationNetwork,
    names: Sequence[str],
    image: Callable[[int], Tensor],
    count: int,
    world: World,
    progress: Callable[[], object],
) -> npt.NDArray[np.float64]:
    """Return number, sum and sum of squares of what enters each site in each image, (S, 3, N)."""
    own = np.zeros((len(names), 3, count))
    with world.together(), eval_mode(model), watch_equalizers(model, names) as seen:
        for index in world.share(count):
            batch = image(index)
            with torch.autocast(batch.device.type, enabled=False):
                run_network(model, batch)
            own[:, :, index] = [seen[name][:3] for name in names]
            progress()
    return np.asarray(world.sum(torch.from_numpy(own)).numpy())


class Passed(NamedTuple):
    """Number, sum and sum of squares of what enters an equalizer, and sums of what leaves it."""

    cells: float
    sum: float
    squares: float
    after_sum: float
    after_squares: float


@contextmanager
def watch_equalizers(
    model: nn.Module, names: Sequence[str] | None = None
) -> Iterator[dict[str, Passed]]:
    """Note what passes the equalizers of a network, or some of them, in the latest pass by name."""
    seen: dict[str, Passed] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            x, y = (one.detach().to("cpu", torch.float64) for one in (given[0], out))
            sums = (float(one) for one in (x.sum(), x.square().sum(), y.sum(), y.square().sum()))
            seen[name] = Passed(float(x.numel()), *sums)

        return note

    chosen = sites(model) if names is None else names
    hooks = [model.get_submodule(one).register_forward_hook(watch(one)) for one in chosen]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _moments(name: str, values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and deviation from the sums of all images, (3, N).

    Raises:
        GstoVizError: They are not finite, or the values do not vary.
    """
    if not np.isfinite(values).all():
        raise GstoVizError(
            f"features at {name} hold NaN or infinite values; check the weights and normalisation"
        )
    number, total, squares = (math.fsum(row) for row in values)
    mean, square = total / number, squares / number
    variance = square - mean**2
    if variance <= LEAST_SHARE * square:
        raise GstoVizError(
            f"features at {name} do not vary (variance 0), so that they cannot be equalized; use "
            "trained weights or other images"
        )
    return mean, math.sqrt(variance)


NOISE_MAPS = 16


def noise_kept(
    factor: int, size: tuple[int, int], *, draws: int, seed: int
) -> npt.NDArray[np.float64]:
    """Measure what bilinear enlargement leaves of the variance of white noise.

    Args:
        factor: Of height and width.
        size: Height and width of a map, in cells.
        draws: How often; each time 16 maps are drawn.
        seed: Of the noise.

    Returns:
        (draws,) variance after over before, over all maps of a draw.
    """
    generator = torch.Generator().manual_seed(seed)
    shares = []
    for _ in range(draws):
        x = torch.randn(1, NOISE_MAPS, *size, generator=generator)
        up = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        shares.append(float(up.double().var() / x.double().var()))
    return np.array(shares)


class EqualizedHead(Protocol):
    """A head whose branches are equalized, concatenated, and enter one convolution."""

    equalizers: Equalizers | None

    def entrance(self) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """Return the convolution that reads the concatenation, and the batch norm behind it."""
        ...


def fold_equalizers(model: SegmentationNetwork) -> SegmentationNetwork:
    """Return the same function without equalizers: they are folded into the next convolution.

    In evaluation mode the logits are those of ``model`` up to rounding. Training goes another way:
    steps of the folded weights are smaller by sigma squared.

    Args:
        model: A network with equalizers; it stays as it is.

    Raises:
        GstoVizError: It has none, or a 3x3 convolution reads what is equalized with a mean that is
            not 0: its padding with zeros would be a padding with the mean.
    """
    folded = copy.deepcopy(model)
    heads = {
        name: cast(EqualizedHead, one)
        for name, one in folded.named_modules()
        if isinstance(getattr(one, "equalizers", None), Equalizers)
    }
    if not heads:
        raise GstoVizError("this network has no equalizers, so there is nothing to fold")
    for name, head in heads.items():
        _fold(name, head)
    folded.config = folded.config.with_options(equalized=False)
    if folded.info is not None:
        folded.info = replace(folded.info, sha256=None)
    return folded


@torch.no_grad()
def _fold(name: str, head: EqualizedHead) -> None:
    """Fold the equalizers of a head into its first convolution, block by block, and drop them."""
    each = head.equalizers
    assert each is not None
    conv, norm = head.entrance()
    means = [float(cast(Equalizer, one).mean) for one in each]
    if any(means) and any(side > 1 for side in conv.kernel_size):
        sides = "x".join(map(str, conv.kernel_size))
        raise GstoVizError(
            f"the {sides} convolution behind {name}.equalizers pads with zeros, which folding "
            "would turn into means; only those of mean 0 or before a 1x1 convolution are folded"
        )
    # A convolution of each channel alone has the branches as rows, any other one as columns.
    axis = 1 if conv.groups == 1 else 0
    scaled, moved = [], []
    for one, block, mean in zip(each, conv.weight.split(each.channels, axis), means, strict=True):
        scaled.append(block.double() / float(cast(Equalizer, one).deviation))
        moved.append(-mean * scaled[-1].sum(dim=(1, 2, 3)))
    conv.weight.copy_(torch.cat(scaled, axis))
    shift = torch.stack(moved).sum(0) if axis else torch.cat(moved)
    if conv.bias is not None:
        conv.bias.add_(shift.to(conv.bias))
    else:
        assert norm.running_mean is not None
        norm.running_mean.sub_(shift.to(norm.running_mean))
    head.equalizers = None
