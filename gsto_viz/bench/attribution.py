"""Exact Shapley values of all regions of an image beside a bare forward pass."""

from functools import partial

import torch

from gsto_viz.attribution import region_shapley, zero_baseline
from gsto_viz.bench.region_table import rectangles
from gsto_viz.bench.timing import Measurement, Say, interleaved, milliseconds, ratio
from gsto_viz.models import build_model
from gsto_viz.regions import prepare_regions
from gsto_viz.torch_utils import eval_mode

NETWORKS = {"plain": "hrnetv2-w18-small-v2", "gated": "gsto-hrnet-w18-small-v2"}
STRIDES = (4, 8, 16, 32)
TARGET_RATIO = 2.5


def bench_attribution(quick: bool, say: Say) -> list[Measurement]:
    """Time ``region_shapley``, its own forward pass included, and bare passes in turns.

    Cutting the annotation into regions is left out: an analysis has done so already.
    """
    size, count, repeats = ((96, 128), 12, 2) if quick else ((360, 480), 100, 7)
    labels = rectangles(*size, count)
    regions = prepare_regions(labels, STRIDES)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    what = (
        f"random weights, {size[0]}x{size[1]}, {len(regions)} regions together, "
        f"{torch.get_num_threads()} threads"
    )
    say(f"attribution: {' and '.join(NETWORKS.values())}, {what}")
    found = []
    for short, name in NETWORKS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(name, num_classes=int(labels.max()) + 1)
        works = {
            "explain": partial(region_shapley, model, image, regions, zero_baseline(model)),
            "forward": partial(model, image),
        }
        with eval_mode(model), torch.no_grad():
            times = interleaved(works, repeats)
        text = f"exact Shapley values of the branches, {name}, {what}"
        target = None if quick else TARGET_RATIO
        over = f"{text}; beside a bare forward pass"
        found += [
            milliseconds(f"shapley_{short}", times["explain"], text),
            ratio(
                f"shapley_{short}_over_bare",
                times["explain"],
                times["forward"],
                over,
                target=target,
            ),
        ]
    return found
