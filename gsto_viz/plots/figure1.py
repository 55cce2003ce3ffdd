"""The main figure: networks on one image, branch by branch, and all their gate maps.

After Figure 1 of GSTO (arXiv:2005.13363), which draws raw channel averages; here the percentile map
with a fixed bar is the default, because raw averages of two networks cannot be compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from gsto_viz.activity import HeatMap, normalise, valid_by_stride
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import (
    GAP,
    MARGIN,
    Page,
    fit_panel,
    set_alt_text,
    shorten,
    text_height,
    text_width,
    wrap,
)
from gsto_viz.plots.gates import NO_GATES, GatePanel
from gsto_viz.plots.panels import (
    BAR_SPACE,
    SPECK_PX,
    check_same_size,
    draw_class_legend,
    draw_heatmap,
    draw_image,
    draw_labels,
    draw_outlines,
    present_classes,
    without_specks,
)
from gsto_viz.plots.style import branch_style
from gsto_viz.types import IGNORE, ClassList, Inspection, Sample
from gsto_viz.words import MODES, RAW_BADGE

WIDTH = 8.0
"""Inches: an A4 page is 8.27 wide."""
PANEL_HEIGHT = 1.55
"""Largest height of a panel, inches; portrait images become narrower instead."""
HEAD, TITLE = 0.18, 0.16
"""Inches for a row's heading and for the titles above its panels."""


@dataclass(frozen=True)
class _Geometry:
    """Columns and rows in inches; one column for the picture, one for each branch."""

    slot: float
    panel: tuple[float, float]

    def left(self, column: int) -> float:
        """Left edge of the panel in a column (panels stand in the middle of their slot)."""
        return MARGIN + column * (self.slot + GAP) + (self.slot - self.panel[0]) / 2

    @property
    def row(self) -> float:
        """Height of a network's row."""
        return HEAD + TITLE + self.panel[1] + BAR_SPACE + GAP


class Analysis(Protocol):
    """What is read of a report: its classes and its examples."""

    @property
    def classes(self) -> ClassList:
        """Of the data."""

    @property
    def examples(self) -> Sequence[Any]:
        """Images with ``sample``, ``regions``, ``inspections``, ``role``; ``example`` is drawn."""


def figure_scale_confusion(
    sample: Sample | Analysis,
    a: Inspection | None = None,
    b: Inspection | None = None,
    *,
    classes: ClassList | None = None,
    mode: str = "percentile",
    regions: npt.NDArray[np.integer] | None = None,
    width: float = WIDTH,
    colors: str | None = None,
) -> Figure:
    """Draw A over B: predictions, the heat map of every branch, and the gates below.

    Mode ``per_map`` is what the paper draws (raw channel means, each map on its own scale); mode
    ``percentile`` with the outlines of ``regions`` is its comparable form.

    Args:
        sample: The image with its labels, if there are any: cells that are mostly ignored take no
            part in ranks and limits and are grey. Or a report, whose example is drawn, with its
            regions where the mode is comparable; nothing else is then needed.
        a: What the first network (by custom the baseline) shows for it.
        b: What the second (by custom the gated one) shows for it; None: only A is drawn.
        classes: Names and colours of the classes.
        mode: One of ``gsto_viz.words.MODES``; raw modes carry their badge.
        regions: (H, W) region numbers, 0 = none, to be outlined on the heat maps, but for specks.
        width: Of the page, inches.
        colors: Name of a Matplotlib colour map for the branch maps; None: the fixed one of the
            mode.

    Raises:
        GstoVizError: Maps, predictions or regions that are not of this image, a report without an
            example, or an image without what a network shows for it.
    """
    if not isinstance(sample, Sample):
        return _figure_of(sample, mode, width)
    if a is None or classes is None:
        raise GstoVizError("an image needs what network A shows for it, and classes=; give both")
    size = (sample.image.shape[0], sample.image.shape[1])
    networks = {"A": a} if b is None else {"A": a, "B": b}
    shown = tuple(networks.values())
    for pixels in (*(i.prediction for i in shown), sample.labels, regions):
        if pixels is not None:
            check_same_size(pixels, sample.image)
    if regions is not None:
        regions = without_specks(regions)
    strides = sorted({stride for i in shown for stride in i.strides})
    valid = None if sample.labels is None else valid_by_stride(sample.labels, strides)
    rows = [[replace(m, colors=colors) for m in row] for row in normalise(shown, mode, valid)]
    geometry = _geometry(size, max(len(i.strides) for i in shown), width)
    text = wrap(_caption(mode, sample, regions is not None, networks), width - 2 * MARGIN, 7.0)
    with style.context():
        panels = [GatePanel(i, size, width) if i.gates else None for i in shown]
        gates = sum(HEAD + (panel.height if panel else 0) for panel in panels)
        first = TITLE + geometry.panel[1] + GAP
        height = first + len(shown) * geometry.row + gates + text_height(text, 7.0) + 2 * MARGIN
        page = Page(width, height)
        _draw_top(page, geometry, sample, classes, shown)
        top = MARGIN + first
        for (letter, inspection), maps in zip(networks.items(), rows, strict=True):
            _draw_network(page, geometry, top, letter, inspection, maps, sample, classes, regions)
            top += geometry.row
        for (letter, inspection), panel in zip(networks.items(), panels, strict=True):
            top = _draw_gates(page, top, letter, inspection, panel)
        page.text(MARGIN, page.height - MARGIN, text, va="bottom")
    set_alt_text(page.figure, _alt_text(sample, networks, mode))
    return page.figure


def _figure_of(report: Analysis, mode: str, width: float) -> Figure:
    """Draw the example of an analysis."""
    example = next((e for e in report.examples if e.role == "example"), None)
    if example is None:
        raise GstoVizError("the report holds no example: no image has a region that qualifies")
    a, *more = example.inspections.values()
    return figure_scale_confusion(
        example.sample,
        a,
        more[0] if more else None,
        classes=report.classes,
        mode=mode,
        regions=None if MODES[mode].raw else example.regions,
        width=width,
    )


def scale_confusion_data(
    sample: Sample, a: Inspection, b: Inspection | None = None, *, mode: str = "percentile"
) -> pd.DataFrame:
    """Return the heat maps of ``figure_scale_confusion`` as one table; gates are not in it.

    Returns:
        ``model`` (A, B), ``branch``, ``stride`` (px), ``row``, ``column`` (of the cell), ``value``
        (null where the cell does not count), ``low``, ``high`` (ends of the map's colour bar).
    """
    shown = (a,) if b is None else (a, b)
    strides = sorted({stride for i in shown for stride in i.strides})
    valid = None if sample.labels is None else valid_by_stride(sample.labels, strides)
    parts = []
    for letter, maps in zip("AB", normalise(shown, mode, valid), strict=False):
        for branch, one in enumerate(maps):
            row, column = np.indices(one.values.shape)
            cells = {"row": row.ravel(), "column": column.ravel(), "value": one.values.ravel()}
            place = {"model": letter, "branch": branch, "stride": one.stride}
            parts.append(pd.DataFrame(place | cells | {"low": one.low, "high": one.high}))
    return pd.concat(parts, ignore_index=True)


def _geometry(size: tuple[int, int], branches: int, width: float) -> _Geometry:
    slot = (width - 2 * MARGIN - branches * GAP) / (branches + 1)
    return _Geometry(slot, fit_panel(size, slot, PANEL_HEIGHT))


def _draw_top(
    page: Page,
    geometry: _Geometry,
    sample: Sample,
    classes: ClassList,
    shown: tuple[Inspection, ...],
) -> None:
    """Draw the image, its labels and the class legend."""
    top = MARGIN + TITLE
    panels = ["input"] if sample.labels is None else ["input", "ground truth"]
    for column, title in enumerate(panels):
        ax = page.axes(geometry.left(column), top, *geometry.panel, label=title)
        ax.set_title(title, pad=3)
        if title == "input":
            draw_image(sample.image, ax=ax)
        elif sample.labels is not None:
            draw_labels(sample.labels, classes, ax=ax)
    left = MARGIN + len(panels) * (geometry.slot + GAP)
    place = (left, top, page.width - MARGIN - left, geometry.panel[1])
    ids = present_classes(classes, sample.labels, *(i.prediction for i in shown))
    draw_class_legend(classes, ids, ax=page.axes(*place, label="classes"), columns=4)


def _draw_network(
    page: Page,
    geometry: _Geometry,
    top: float,
    letter: str,
    inspection: Inspection,
    maps: Sequence[HeatMap],
    sample: Sample,
    classes: ClassList,
    regions: npt.NDArray[np.integer] | None,
) -> None:
    """Draw one network's row: heading, prediction, one heat map per branch."""
    _draw_heading(page, top, letter, inspection, badge=maps[0].raw)
    top += HEAD + TITLE
    ax = page.axes(geometry.left(0), top, *geometry.panel, label=f"{letter} prediction")
    ax.set_title("prediction", pad=3)
    draw_labels(inspection.prediction, classes, ax=ax)
    size = (sample.image.shape[0], sample.image.shape[1])
    for r, heatmap in enumerate(maps):
        color, _ = branch_style(r)
        ax = page.axes(geometry.left(r + 1), top, *geometry.panel, label=f"{letter} branch {r}")
        draw_heatmap(heatmap, ax=ax, size=size, caption=False)
        ax.set_title(f"stride {heatmap.stride}", pad=3)
        ax.spines[:].set(color=color, linewidth=1.2)
        if regions is not None:
            draw_outlines(regions, ax=ax)


def _draw_heading(
    page: Page, top: float, letter: str, inspection: Inspection, *, badge: bool
) -> None:
    """Write a network's letter and name and, for raw maps, the badge at the right."""
    page.text(MARGIN, top, letter, fontsize=style.HEADING, fontweight="bold")
    room = page.width - 2 * MARGIN - 0.2
    if badge:
        room -= text_width(RAW_BADGE, style.SMALL) + 0.25
        page.text(
            page.width - MARGIN - 0.05,
            top + 0.01,
            RAW_BADGE,
            ha="right",
            fontsize=style.SMALL,
            bbox={"boxstyle": "round,pad=0.25", "fc": "#FFF3C4", "ec": "#8A6D00", "lw": 0.5},
        )
    name = f"{inspection.name} ({inspection.network})"
    page.text(MARGIN + 0.2, top, shorten(name, room, style.HEADING), fontsize=style.HEADING)


def _draw_gates(
    page: Page, top: float, letter: str, inspection: Inspection, panel: GatePanel | None
) -> float:
    """Draw a network's gates, or say that it has none; return where the next block begins."""
    page.text(MARGIN, top, letter, fontsize=style.HEADING, fontweight="bold")
    if panel is None:
        page.text(MARGIN + 0.2, top, NO_GATES, fontsize=style.HEADING)
        return top + HEAD
    site = f"gates of {panel.grid.site}" if panel.grid.site else "gates of the transitions"
    note = f"{site}; below each map, the share of its cells that are as closed as they can be"
    room = page.width - 2 * MARGIN - 0.2
    page.text(MARGIN + 0.2, top, shorten(note, room, style.HEADING), fontsize=style.HEADING)
    panel.draw(page, top + HEAD)
    return top + HEAD + panel.height


def _maps_said(mode: str, networks: Iterable[str]) -> str:
    """Say what the heat maps hold, and on what scale."""
    kind = "raw" if MODES[mode].raw else "gain-fixed"
    return f"Heat maps: {MODES[mode].said(f'{kind} channel average', list(networks))}"


def _caption(mode: str, sample: Sample, outlined: bool, networks: Mapping[str, Inspection]) -> str:
    """Say what is drawn and how it was normalised."""
    sites = sorted({inspection.site for inspection in networks.values()})
    parts = [
        f"Image {sample.id}. Branch maps at {' and '.join(sites)}.",
        _maps_said(mode, networks),
    ]
    if outlined:
        parts.append(f"White lines: annotated regions of at least {SPECK_PX} px.")
    if sample.labels is not None and (sample.labels == IGNORE).any():
        parts.append(
            "Black pixels and grey cells: not annotated, left out of the ranks and limits."
        )
    return " ".join(parts)


def _alt_text(sample: Sample, networks: Mapping[str, Inspection], mode: str) -> str:
    """Describe the figure in words."""
    rows = " and ".join(
        f"a row for {letter} ({i.name}) with its prediction and one heat map for each branch of "
        f"stride {', '.join(str(stride) for stride in i.strides)}"
        for letter, i in networks.items()
    )
    gated = [letter for letter, i in networks.items() if i.gates]
    gates = f"Gate maps of {' and '.join(gated)} follow below." if gated else "No gates."
    return (
        f"Scale confusion on image {sample.id}: the input, its labels and class colours on top; "
        f"then {rows}. {gates} {_maps_said(mode, networks)}"
    )


GATES_WIDTH = 8.0
"""Inches: an A4 page is 8.27 wide."""
GATES_HEAD = 0.22
"""Inches for a heading."""
CAPTION = (
    "Each map is the gate in front of one transfer, from the branch of its row to that of its "
    "column; it multiplies its source. The bar runs over what the form of the gates allows; below "
    "each map, the share of its cells that are as closed as the form allows."
)


def figure_gate_maps(
    sample: Sample, inspections: Mapping[str, Inspection], *, width: float = GATES_WIDTH
) -> Figure:
    """Draw every gate of every network, fusion by fusion.

    Args:
        sample: The image.
        inspections: By letter, what each network shows for it; a network without gates gets a line
            that says so.
        width: Of the page, inches.

    Raises:
        GstoVizError: No network is given, or gates have no range.
    """
    if not inspections:
        raise GstoVizError("no network was given; give what at least one shows for the image")
    size = (sample.image.shape[0], sample.image.shape[1])
    text = wrap(f"Image {sample.id}. {CAPTION}", width - 2 * MARGIN, 7.0)
    with style.context():
        panels = {
            letter: [(title, GatePanel(part, size, width)) for title, part in _fusions(inspection)]
            for letter, inspection in inspections.items()
        }
        height = 2 * MARGIN + text_height(text, 7.0)
        for own in panels.values():
            height += GATES_HEAD + sum(GATES_HEAD + panel.height + GAP for _, panel in own)
        page = Page(width, height)
        top = MARGIN
        for letter, inspection in inspections.items():
            top = _draw_gate_grid(page, top, letter, inspection, panels[letter])
        page.text(MARGIN, height - MARGIN, text, va="bottom")
    set_alt_text(page.figure, _gates_alt_text(sample, inspections))
    return page.figure


def _fusions(inspection: Inspection) -> Iterable[tuple[str, Inspection]]:
    """Yield the gates of one fusion after the other, the transitions' with the last one."""
    sites = dict.fromkeys(
        name.partition(".gate")[0] for name in inspection.gates if name.startswith("stage")
    )
    rest = {n: g for n, g in inspection.gates.items() if not n.startswith("stage")}
    for site in sites:
        own = {n: g for n, g in inspection.gates.items() if n.partition(".gate")[0] == site}
        branches = int(site[len("stage") : site.index(".")])
        last = site == list(sites)[-1] and branches == len(inspection.strides)
        strides = inspection.strides[:branches]
        yield site, replace(inspection, gates=own | (rest if last else {}), strides=strides)
        if last:
            rest = {}
    if rest:
        yield "transitions", replace(inspection, gates=rest)


def _draw_gate_grid(
    page: Page,
    top: float,
    letter: str,
    inspection: Inspection,
    panels: list[tuple[str, GatePanel]],
) -> float:
    """Draw a network's heading and grids; return where the next one begins."""
    page.text(MARGIN, top, letter, fontsize=style.HEADING, fontweight="bold")
    name = inspection.name if panels else f"{inspection.name}: {NO_GATES}"
    room = page.width - 2 * MARGIN - 0.2
    page.text(MARGIN + 0.2, top, shorten(name, room, style.HEADING), fontsize=style.HEADING)
    top += GATES_HEAD
    for title, panel in panels:
        page.text(MARGIN, top, title, fontweight="bold")
        panel.draw(page, top + GATES_HEAD)
        top += GATES_HEAD + panel.height + GAP
    return top


def _gates_alt_text(sample: Sample, inspections: Mapping[str, Inspection]) -> str:
    parts = [
        f"{letter} ({inspection.name}): {len(inspection.gates)} gate maps"
        if inspection.gates
        else f"{letter} ({inspection.name}): {NO_GATES}"
        for letter, inspection in inspections.items()
    ]
    return f"Gate maps on image {sample.id}. {'; '.join(parts)}. {CAPTION}"
