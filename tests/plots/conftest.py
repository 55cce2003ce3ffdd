"""Synthetic inspections, and a ruler for text on figures."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from gsto_viz.look import Look
from gsto_viz.types import ClassInfo, ClassList, Sample

STRIDES = (4, 8, 16, 32)


def make_sample(size, classes=5, labelled=True, seed=0):
    rng = np.random.default_rng(seed)
    height, width = size
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = rng.integers(0, classes, (height, width), dtype=np.uint8)
    labels[: height // 3, : width // 3] = 255
    return Sample("an image", image, labels if labelled else None)


def make_inspection(size, name="net", gated=False, strides=STRIDES, limits=(0.5, 1.0), seed=0):
    rng = np.random.default_rng(seed)
    shapes = {s: (-(-size[0] // s), -(-size[1] // s)) for s in strides}
    maps = [rng.random(shapes[s], dtype=np.float32) for s in strides]
    gates = {}
    if gated:
        low, high = limits
        for stage in (2, 3)[: len(strides) - 1]:
            shape = shapes[strides[stage - 1]]
            gates[f"transition{stage}.gate"] = rng.uniform(low, high, shape).astype(np.float32)
        for source, target in itertools.product(range(len(strides)), repeat=2):
            gate = rng.uniform(low, high, shapes[strides[source]]).astype(np.float32)
            gates[f"stage4.m1.gate[{source}->{target}]"] = gate
            gates[f"stage4.m0.gate[{source}->{target}]"] = gate
    return Look(
        name=name,
        network="a-network",
        strides=strides,
        prediction=rng.integers(0, 5, size, dtype=np.uint8),
        raw=tuple(0.01 * m for m in maps),
        activity=tuple(maps),
        gates=gates,
        gate_range=limits if gated else None,
    )


def make_classes(count):
    return ClassList(
        "synthetic",
        tuple(ClassInfo(k, f"class {k}", (k, 255 - k, 7), thing=False) for k in range(count)),
    )


def all_text(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


def check_text(figure: Figure) -> None:
    """No text leaves the figure, touches another text or lies on somebody's image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = [(repr(t.get_text()), t.get_window_extent(renderer)) for t in texts]
    width, height = figure.bbox.width, figure.bbox.height
    for what, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{what} leaves the figure"
    panels = [(ax.get_label(), ax.get_window_extent(renderer)) for ax in figure.axes if ax.images]
    for (what, box), (other, second) in itertools.chain(
        itertools.combinations(boxes, 2), itertools.product(boxes, panels)
    ):
        across = min(box.x1, second.x1) - max(box.x0, second.x0)
        down = min(box.y1, second.y1) - max(box.y0, second.y0)
        assert across <= 0.5 or down <= 0.5, f"{what} lies on {other}"
    assert len(boxes) > 3


@pytest.fixture(name="make_sample")
def _make_sample():
    return make_sample


@pytest.fixture(name="make_inspection")
def _make_inspection():
    return make_inspection


@pytest.fixture(name="make_classes")
def _make_classes():
    return make_classes


@pytest.fixture(name="check_text")
def _check_text():
    return check_text


@pytest.fixture(name="all_text")
def _all_text():
    return all_text
