"""Figures as bytes. Matplotlib's settings are global, so sessions draw one after the other."""

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from gsto_viz.look import Look
from gsto_viz.plots import (
    Marks,
    PairRow,
    PanelRow,
    alt_text,
    figure_gate_maps,
    figure_scale_confusion,
    figure_training,
    figure_tuning_fan,
    figure_view,
    figure_worst_pairs,
    save_figure,
)
from gsto_viz.plots.pairs import MAX_ROWS
from gsto_viz.types import ClassList, Sample

_DRAWING = threading.Lock()
PRINT_DPI = 300.0


@dataclass(frozen=True)
class Drawing:
    """A figure as a file's content, and its description in words."""

    content: bytes
    alt: str


def draw_comparison(
    sample: Sample,
    shown: Mapping[str, Look],
    classes: ClassList,
    mode: str,
    kind: str,
    colors: str | None = None,
) -> Drawing:
    """Draw A over B with their branch and gate maps.

    Args:
        sample: The image, with labels if there are any.
        shown: ``A`` and ``B``: what each network shows for it.
        classes: Of the networks.
        mode: One of ``gsto_viz.words.MODES``.
        kind: ``png`` (300 dpi), ``svg`` or ``pdf``.
        colors: Colour map of the branch maps; None: that of the mode.
    """
    with _DRAWING:
        figure = figure_scale_confusion(sample, shown, classes=classes, mode=mode, colors=colors)
        return _as_bytes(figure, kind, dpi=PRINT_DPI)


@dataclass(frozen=True, eq=False)
class Sheet:
    """What a page shows, ready to be drawn.

    Attributes:
        rows: Its tiles.
        marks: Probe, pin and outlined region.
        caption: What image, networks and scale are.
        opacity: Of heat maps over the image, 0..1.
    """

    rows: Sequence[PanelRow]
    marks: Marks
    caption: str
    opacity: float = 1.0


def draw_view(sample: Sample, classes: ClassList, sheet: Sheet, kind: str) -> Drawing:
    """Draw a view as its page shows it.

    Args:
        sample: The image.
        classes: Of the networks.
        sheet: What the page shows.
        kind: ``png`` (300 dpi), ``svg`` or ``pdf``.
    """
    with _DRAWING:
        figure = figure_view(
            sheet.rows,
            image=sample.image,
            classes=classes,
            marks=sheet.marks,
            opacity=sheet.opacity,
            caption=sheet.caption,
        )
        return _as_bytes(figure, kind, dpi=PRINT_DPI)


def draw_gates(sample: Sample, shown: Mapping[str, Look], kind: str) -> Drawing:
    """Draw every gate map of A and B.

    Args:
        sample: The image.
        shown: ``A`` and ``B``: what each network shows for it.
        kind: ``png`` (300 dpi), ``svg`` or ``pdf``.
    """
    with _DRAWING:
        return _as_bytes(figure_gate_maps(sample, shown), kind, dpi=PRINT_DPI)


def draw_fan(
    frames: Mapping[str, pd.DataFrame],
    random: Mapping[str, Sequence[pd.DataFrame]],
    names: Mapping[str, str],
    kind: str,
) -> Drawing:
    """Draw the responses by object size over those of random weights.

    Args:
        frames: By network, what ``response_by_octave`` gave; with rows.
        random: By network, the same of each draw of random weights; may be empty.
        names: By network, the checkpoint.
        kind: ``png``, ``svg`` or ``pdf``.
    """
    with _DRAWING:
        figure = figure_tuning_fan(frames, random=random, names=names)
        return _as_bytes(figure, kind, dpi=PRINT_DPI)


def draw_worst_pairs(
    rows: Sequence[PairRow],
    names: Mapping[str, str],
    kind: str = "png",
    dpi: float | None = None,
    *,
    caption: bool = True,
) -> Drawing:
    """Draw pairs of regions in the wrong order, at most as many as fit one page.

    Args:
        rows: One or more.
        names: By network, the checkpoint.
        kind: ``png``, ``svg`` or ``pdf``.
        dpi: Of a PNG; None: for the screen.
        caption: Say below what a row shows.
    """
    with _DRAWING:
        figure = figure_worst_pairs(rows[:MAX_ROWS], names=names, caption=caption)
        return _as_bytes(figure, kind, dpi)


def draw_training(
    scores: Mapping[str, pd.DataFrame],
    losses: Mapping[str, pd.DataFrame],
    kind: str,
    score: str = "miou",
) -> Drawing:
    """Draw mIoU or AP by epoch, and loss by step, of training runs.

    Args:
        scores: By run, its evaluations.
        losses: By run, its steps.
        kind: ``png`` (300 dpi), ``svg`` or ``pdf``.
        score: ``miou`` or ``ap``, which is drawn.
    """
    with _DRAWING:
        return _as_bytes(figure_training(scores, losses, score=score), kind, dpi=PRINT_DPI)


def _as_bytes(figure: Figure, kind: str, dpi: float | None = None) -> Drawing:
    with tempfile.TemporaryDirectory(prefix="gsto-viz-") as folder:
        (path,) = save_figure(figure, Path(folder) / "figure", formats=(kind,), dpi=dpi)
        return Drawing(path.read_bytes(), alt_text(figure))
