"""The main figure: networks on one image, branch by branch, and all their gate maps.

After Figure 1 of GSTO (arXiv:2005.13363), which draws raw channel averages; here the percentile map
with a fixed bar is the default, because raw averages of two networks cannot be compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from gsto_viz.activity import HeatMap, normalise, valid_by_stride
from gsto_viz.colors import branch_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.look import Look
from gsto_viz.plots.gates import NO_GATES, arrange_gates, draw_gates, gates_by_site
from gsto_viz.plots.page import BODY, GAP, MARGIN, WIDTH, Page, context, title_of
from gsto_viz.plots.panels import SPECK_PX, check_same_size, present_classes, without_specks
from gsto_viz.plots.skeletons import SKELETONS_SAID, answer_panel
from gsto_viz.plots.wall import Outline, Panel, PanelRow, Wall
from gsto_viz.types import IGNORE, ClassList, Sample, stride_words
from gsto_viz.words import MODES, listed

PANEL_HEIGHT = 1.55
"""Largest height of a panel, inches; portrait images become narrower instead."""
HEAD = 0.2
"""Inches for a heading."""
Shown = Mapping[str, Look]
"""What networks show for one image, by name; the first is the reference."""


@context()
def figure_scale_confusion(
    sample: Sample | Any,
    shown: Shown | None = None,
    *,
    classes: ClassList | None = None,
    mode: str = "percentile",
    regions: npt.NDArray[np.integer] | None = None,
    width: float = WIDTH,
    colors: str | None = None,
) -> Figure:
    """Draw networks below each other: predictions, the heat map of every branch, and the gates.

    A network for pose shows the skeletons that it reads in place of a prediction.

    Mode ``per_map`` is what the paper draws (raw channel means, each map on its own scale); mode
    ``percentile`` with the outlines of ``regions`` is its comparable form.

    Args:
        sample: The image with its labels, if there are any: cells that are mostly ignored take no
            part in ranks and limits and are grey. Or a report, whose example is drawn, with its
            regions where the mode is comparable; nothing else is then needed.
        shown: What each network shows for it.
        classes: Names and colours of the classes.
        mode: Key of ``gsto_viz.words.MODES``; raw modes carry their badge.
        regions: (H, W) region numbers, 0 = none, to be outlined on the heat maps, but for specks.
        width: Of the page, inches.
        colors: Name of a Matplotlib colour map for the branch maps; None: the fixed one of the
            mode.

    Raises:
        GstoVizError: Maps, predictions or regions that are not of this image, a report without an
            example, or an image without what networks show for it.
    """
    if not isinstance(sample, Sample):
        return _figure_of(sample, mode, width)
    if not shown or classes is None:
        raise GstoVizError(
            "an image needs what networks show for it, by name, and classes=; give both"
        )
    for pixels in (*(i.prediction for i in shown.values()), sample.labels, regions):
        if pixels is not None:
            check_same_size(pixels, sample.image)
    outlines = () if regions is None else (Outline(without_specks(regions)),)
    slots = 1 + max(len(i.strides) for i in shown.values())
    wall = Wall((sample.image.shape[0], sample.image.shape[1]), classes, width=width)
    _draw_top(wall, sample, shown, slots)
    for (key, look), maps in zip(shown.items(), _maps(sample, shown, mode), strict=True):
        panels = [answer_panel(_answer(look), look, sample.image, f"{key} prediction")]
        for r, heat in enumerate(maps):
            name, color = f"{key} branch {r}", branch_mark(r).color
            panels.append(
                Panel(
                    stride_words(heat.stride),
                    heat=replace(heat, colors=colors),
                    name=name,
                    frame=color,
                    outlines=outlines,
                )
            )
        title = f"{key}  {look.name} ({look.network})"
        wall.rows([PanelRow(title, panels, slots=slots, height=PANEL_HEIGHT)])
    for key, look in shown.items():
        if not look.gates:
            wall.heading(f"{key}  {NO_GATES}", step=HEAD)
            continue
        site = arrange_gates(look.gates).site or "the transitions"
        note = "below each map, the share of its cells that are as closed as they can be"
        wall.heading(f"{key}  gates of {site}", note, step=HEAD)
        draw_gates(wall, look, wall.size)
    text = _caption(mode, sample, regions is not None, shown)
    return wall.finish(text, _alt_text(sample, shown, mode), size=BODY)


def _figure_of(report: Any, mode: str, width: float) -> Figure:
    """Draw the example of an analysis."""
    example = next((e for e in report.examples if e.role == "example"), None)
    if example is None:
        raise GstoVizError("the report holds no example: no image has a region that qualifies")
    return figure_scale_confusion(
        example.sample,
        example.looks,
        classes=report.classes,
        mode=mode,
        regions=None if MODES[mode].raw else example.regions,
        width=width,
    )


def scale_confusion_data(sample: Sample, shown: Shown, *, mode: str = "percentile") -> pd.DataFrame:
    """Return the heat maps of ``figure_scale_confusion`` as one table; gates are not in it.

    Returns:
        ``model``, ``branch``, ``stride`` (px), ``row``, ``column`` (of the cell), ``value`` (null
        where the cell does not count), ``low``, ``high`` (ends of the map's colour bar).
    """
    parts = []
    for key, maps in zip(shown, _maps(sample, shown, mode), strict=True):
        for branch, one in enumerate(maps):
            row, column = np.indices(one.values.shape)
            cells = {"row": row.ravel(), "column": column.ravel(), "value": one.values.ravel()}
            own = {"model": key, "branch": branch, "stride": one.stride}
            parts.append(pd.DataFrame(own | cells | {"low": one.low, "high": one.high}))
    return pd.concat(parts, ignore_index=True)


def _maps(sample: Sample, shown: Shown, mode: str) -> Sequence[Sequence[HeatMap]]:
    """Return the branch maps of each network, ready to be drawn."""
    strides = tuple(dict.fromkeys(stride for i in shown.values() for stride in i.strides))
    valid = None if sample.labels is None else valid_by_stride(sample.labels, strides)
    return normalise(tuple(shown.values()), mode, valid)


def _draw_top(wall: Wall, sample: Sample, shown: Shown, slots: int) -> None:
    """Draw the image, its labels and, at their right, the class legend."""
    panels = [Panel("input", pixels=sample.image)]
    if sample.labels is not None:
        panels.append(Panel("ground truth", labels=sample.labels))
    wall.rows([PanelRow("", panels, slots=slots, height=PANEL_HEIGHT)])
    _, ax = wall.shown[0]
    height = ax.bbox.height / wall.figure.dpi
    left = MARGIN + len(panels) * ((wall.room + GAP) / slots)
    box = (left, wall.top - GAP - height, wall.width - MARGIN - left, height)
    maps = (sample.labels, *(i.prediction for i in shown.values() if i.predicts))
    if wall.classes is not None:
        wall.class_legend(present_classes(wall.classes, *maps), 4, box)


def _answer(look: Look) -> str:
    return "prediction" if look.skeletons is None else "skeletons"


def _maps_said(mode: str, shown: Shown) -> str:
    """Return in words what the heat maps hold, and on what scale."""
    kind = "raw" if MODES[mode].raw else "gain-fixed"
    return f"Heat maps: {MODES[mode].said(f'{kind} channel average', list(shown))}"


def _caption(mode: str, sample: Sample, outlined: bool, shown: Shown) -> str:
    """Return the caption: what is drawn and how it was normalised."""
    sites = sorted({look.site for look in shown.values()})
    parts = [f"Image {sample.id}. Branch maps at {listed(sites)}.", _maps_said(mode, shown)]
    if outlined:
        parts.append(f"White lines: annotated regions of at least {SPECK_PX} px.")
    if any(look.skeletons is not None for look in shown.values()):
        parts.append(SKELETONS_SAID)
    if sample.labels is not None and (sample.labels == IGNORE).any():
        parts.append(
            "Black pixels and grey cells: not annotated, left out of the ranks and limits."
        )
    return " ".join(parts)


def _alt_text(sample: Sample, shown: Shown, mode: str) -> str:
    """Describe the figure in words."""
    rows = listed(
        [
            f"a row for {key} ({i.name}) with its {_answer(i)} and one heat map for each branch "
            f"({', '.join(map(stride_words, i.strides))})"
            for key, i in shown.items()
        ]
    )
    gated = [key for key, i in shown.items() if i.gates]
    gates = f"Gate maps of {listed(gated)} follow below." if gated else "No gates."
    return (
        f"Scale confusion on image {sample.id}: the input, its labels and class colours on top; "
        f"then {rows}. {gates} {_maps_said(mode, shown)}"
    )


GATES_CAPTION = (
    "Each map is the gate in front of one transfer, from the branch of its row to that of its "
    "column; it multiplies its source. The bar runs over what the form of the gates allows; below "
    "each map, the share of its cells that are as closed as the form allows."
)


@context()
def figure_gate_maps(sample: Sample, shown: Shown, *, width: float = WIDTH) -> Figure:
    """Draw every gate of every network, fusion by fusion.

    Args:
        sample: The image.
        shown: What each network shows for it; a network without gates gets a line that says so.
        width: Of the page, inches.

    Raises:
        GstoVizError: No network is given, or gates have no range.
    """
    if not shown:
        raise GstoVizError("no network was given; give what at least one shows for the image")
    page = Page(width)
    said = []
    for key, look in shown.items():
        title = title_of(key, {key: look.name})
        page.heading(title if look.gates else f"{title}: {NO_GATES}", step=HEAD)
        for site, part in _fusions(look):
            page.heading(site, size=BODY, step=HEAD)
            draw_gates(page, part, (sample.image.shape[0], sample.image.shape[1]))
        gates = f"{len(look.gates)} gate maps" if look.gates else NO_GATES
        said.append(f"{key} ({look.name}): {gates}")
    caption = f"Image {sample.id}. {GATES_CAPTION}"
    alt = f"Gate maps on image {sample.id}. {'; '.join(said)}. {GATES_CAPTION}"
    return page.finish(caption, alt, size=BODY)


def _fusions(look: Look) -> Iterable[tuple[str, Look]]:
    """Yield the gates of one fusion after the other, the transitions' with the last one."""
    fusions, transitions = gates_by_site(look.gates)
    rest = set(transitions.values())
    for site, edges in fusions.items():
        branches = 1 + max(map(max, edges))
        taps = set(edges.values())
        if site == list(fusions)[-1] and branches == len(look.strides):
            taps, rest = taps | rest, set()
        gates = {tap: gate for tap, gate in look.gates.items() if tap in taps}
        yield site, replace(look, gates=gates, strides=look.strides[:branches])
    if rest:
        gates = {tap: gate for tap, gate in look.gates.items() if tap in rest}
        yield "transitions", replace(look, gates=gates)
