"""What explaining all regions of an image costs beside a bare forward pass."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from gsto_viz.attribution.baselines import zero_baseline
from gsto_viz.attribution.shapley import region_shapley
from gsto_viz.regions import PreparedRegions, RegionMap, find_regions
from gsto_viz.torch_utils import eval_mode


@dataclass(frozen=True)
class ShapleyCost:
    """Medians over repeats, seconds of wall-clock time."""

    forward_s: float
    """One forward pass without gradients."""
    shapley_s: float
    """``region_shapley`` of all regions, its own forward pass included."""
    ratio: float
    """Median over repeats of the one divided by the other, measured next to each other."""
    regions: int
    repeats: int


def chequered_regions(size: tuple[int, int], side: int = 24, classes: int = 4) -> RegionMap:
    """Return square regions of ``side`` pixels that cover an image (H, W): many, of all cells."""
    rows, columns = (np.arange(n) // side for n in size)
    labels = (rows[:, None] * 2 + columns) % classes
    return find_regions(labels.astype(np.uint8))


def shapley_cost(
    model: nn.Module, image: Tensor, regions: RegionMap | PreparedRegions, *, repeats: int = 5
) -> ShapleyCost:
    """Measure ``region_shapley`` beside a bare forward pass, in turns, after one of each.

    Args:
        model: An HRNetV2 or GSTO-HRNet.
        image: (1, 3, H, W), normalised, on the network's device.
        regions: Of this image.
        repeats: Measured pairs.
    """
    baseline = zero_baseline(model)
    device = image.device

    def forward() -> None:
        with torch.no_grad():
            model(image)

    def explain() -> None:
        region_shapley(model, image, regions, baseline)

    with eval_mode(model):
        forward()
        explain()
        pairs = [(_seconds(forward, device), _seconds(explain, device)) for _ in range(repeats)]
    return ShapleyCost(
        forward_s=median(bare for bare, _ in pairs),
        shapley_s=median(full for _, full in pairs),
        ratio=median(full / bare for bare, full in pairs),
        regions=len(regions),
        repeats=repeats,
    )


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """Return the wall-clock time of one call; a GPU's queue is emptied before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
