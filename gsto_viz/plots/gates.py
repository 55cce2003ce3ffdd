"""Gate maps as small multiples, and how far gates open by object size."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from gsto_viz.activity import HeatMap, gate_map, saturated_share
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import (
    GAP,
    MARGIN,
    WIDTH,
    Page,
    check_columns,
    draw_legend,
    fit_panel,
    legend_height,
    octave_axis,
    set_alt_text,
    shorten,
    text_height,
    text_width,
    title_of,
    wrap,
)
from gsto_viz.plots.panels import BAR_HEIGHT, fill_bar, number, paint
from gsto_viz.plots.sizes import FEW_REGIONS
from gsto_viz.plots.style import FEW, GUIDE, SMALL, branch_style
from gsto_viz.stats.gates import gate_edge
from gsto_viz.types import BAND_PX, Inspection

NO_GATES = "no gates: plain transfers"
"""Written where a network has no gates."""
CELL_HEIGHT = 0.72
"""Largest height of one gate map, inches."""
SIDE = 0.6
"""Inches left of the grid for the names of the source branches."""
TITLE, SHARE = 0.17, 0.18
"""Inches for a title above a map and for the saturated share below it."""
BAR_ROOM = 0.5
"""Inches for the colour bar with its title and numbers."""
_FUSION = re.compile(r"stage(\d+)\.m(\d+)\.gate(?:\[(\d+)->(\d+)\]|\.(\d+)to(\d+))")
_TRANSITION = re.compile(r"transition(\d+)\.gate")


@dataclass(frozen=True)
class GateGrid:
    """The gates of one fusion and of the transitions.

    Attributes:
        site: Stage and module of the fusion, e.g. ``stage4.m2``; empty without fusion gates.
        edges: Tap name by (source, target) branch.
        transitions: Tap name by the stage that the transition follows.
    """

    site: str
    edges: dict[tuple[int, int], str]
    transitions: dict[int, str]


def arrange_gates(names: Iterable[str]) -> GateGrid:
    """Pick the gates of the last fusion that has any, and those of the transitions, by tap name."""
    fusions: dict[tuple[int, int], dict[tuple[int, int], str]] = {}
    transitions = {}
    for name in names:
        if found := _FUSION.fullmatch(name):
            stage, module, source, target = (int(part) for part in found.groups() if part)
            fusions.setdefault((stage, module), {})[source, target] = name
        elif found := _TRANSITION.fullmatch(name):
            transitions[int(found[1])] = name
    if not fusions:
        return GateGrid("", {}, transitions)
    stage, module = max(fusions)
    return GateGrid(f"stage{stage}.m{module}", fusions[stage, module], transitions)


def draw_gate(heatmap: HeatMap, *, ax: Axes, size: tuple[int, int]) -> AxesImage:
    """Draw one gate map; below it, the share of cells that are as closed as the form allows.

    Args:
        heatmap: What ``gsto_viz.activity.gate_map`` returns.
        ax: Where.
        size: (H, W) of the image.
    """
    artist = paint(heatmap, ax=ax, size=size)
    share = saturated_share(heatmap.values, (heatmap.low, heatmap.high))
    ax.set_xlabel(f"{percent(share)} at {number(heatmap.low)}", fontsize=SMALL, labelpad=2)
    return artist


def percent(share: float) -> str:
    """Return a share in percent; 0% and 100% only where they are exact."""
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"


class GatePanel:
    """The gates of one network on a page: a grid of maps, a column of transitions, one bar.

    Args:
        inspection: Of a network with gates.
        size: (H, W) of the image.
        width: Of the page, inches.

    Raises:
        GstoVizError: The gates have no range.
    """

    def __init__(self, inspection: Inspection, size: tuple[int, int], width: float) -> None:
        if inspection.gate_range is None:
            raise GstoVizError(f"'{inspection.name}' has gates but no gate_range; give its form's")
        self.limits = inspection.gate_range
        self.inspection, self.size = inspection, size
        self.grid = arrange_gates(inspection.gates)
        self.branches = len(inspection.strides)
        room = width - 2 * MARGIN - SIDE - (self.branches + 1) * GAP
        self.slot = room / (self.branches + 1)
        self.cell_width, self.cell_height = fit_panel(size, self.slot, CELL_HEIGHT)

    @property
    def height(self) -> float:
        """Inches that the panel takes."""
        edges = self.branches * (self.cell_height + SHARE) + TITLE
        transitions = len(self.grid.transitions) * (self.cell_height + SHARE + TITLE)
        return max(edges, transitions + BAR_ROOM)

    def draw(self, page: Page, top: float) -> None:
        """Draw everything below ``top`` (inches from the page's top)."""
        strides = self.inspection.strides
        for k, stride in enumerate(strides):
            middle = self._left(k) + self.slot / 2
            page.text(middle, top + TITLE - 0.03, f"to stride {stride}", ha="center", va="bottom")
            y = self._row_top(top, k) + self.cell_height / 2
            page.text(MARGIN, y, f"from\nstride {stride}", va="center")
            for target in range(self.branches):
                self._draw_edge(page, top, k, target)
        self._draw_transitions(page, top)
        self._draw_bar(page, top)

    def _left(self, column: int) -> float:
        # One more gap sets the column of transitions apart from the grid.
        extra = GAP if column == self.branches else 0.0
        return MARGIN + SIDE + column * (self.slot + GAP) + extra

    def _row_top(self, top: float, row: int) -> float:
        return top + TITLE + row * (self.cell_height + SHARE)

    def _draw_edge(self, page: Page, top: float, source: int, target: int) -> None:
        y = self._row_top(top, source)
        name = self.grid.edges.get((source, target))
        if name is not None:
            self._draw_map(page, name, self.inspection.strides[source], target, y)
            return
        note = "identity" if source == target else "no gate"
        middle = self._left(target) + self.slot / 2, y + self.cell_height / 2
        page.text(*middle, note, ha="center", va="center", color=GUIDE, fontsize=SMALL)

    def _draw_transitions(self, page: Page, top: float) -> None:
        for row, (stage, name) in enumerate(sorted(self.grid.transitions.items())):
            y = top + TITLE + row * (self.cell_height + SHARE + TITLE)
            middle = self._left(self.branches) + self.slot / 2
            stride = self.inspection.strides[stage - 1]
            title = f"transition {stage}, stride {stride}"
            page.text(middle, y - 0.03, title, ha="center", va="bottom")
            self._draw_map(page, name, stride, self.branches, y)

    def _draw_map(self, page: Page, name: str, stride: int, column: int, y: float) -> None:
        left = self._left(column) + (self.slot - self.cell_width) / 2
        ax = page.axes(left, y, self.cell_width, self.cell_height, label=name)
        heatmap = gate_map(self.inspection.gates[name], stride=stride, limits=self.limits)
        draw_gate(heatmap, ax=ax, size=self.size)

    def _draw_bar(self, page: Page, top: float) -> None:
        left, y = self._left(self.branches), top + self.height - BAR_ROOM
        page.text(left, y + 0.14, "gate value", va="bottom")
        ax = page.axes(left, y + 0.17, self.slot, BAR_HEIGHT, label="gate bar")
        fill_bar(gate_map(np.array([self.limits]), stride=1, limits=self.limits), ax)


COLUMNS = ("part", "octave", "mean", "low", "high", "n_regions", "n_images")
"""What a frame must have (``gsto_viz.stats.gates.gate_by_octave``)."""
LIMITS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Upper ends of the y axis; the smallest that holds everything is taken for all panels."""
PARTS: dict[str, Literal["-", "--"]] = {"core": "-", "band": "--"}
"""Parts of a region and their line styles."""
SIZE, SHORT_SIZE = "size: octaves (log2 px)", "size, octaves"
"""Labels of the x axis: where panels are wide enough, and elsewhere."""
CHART = 0.78
"""Height of one panel, inches."""
SIZES_SIDE, HEAD, SIZES_TITLE, FOOT, CHART_GAP = 1.05, 0.2, 0.17, 0.38, 0.12
"""Inches: left of the grid, for a heading, above and below the grid, between panels."""
CAPTION = (
    "Mean opening g' of each gate over regions of one size octave, images weighted equally: 0 as "
    "closed as its form allows, 1 open; one scale for all panels. Bands: 95% bootstrap interval "
    "over images, where there are at least 10. A gate that selects by scale rises with size on "
    "the way to a coarser branch (right of the diagonal) and falls on the way to a finer one (left "
    f"of it). Grey points: fewer than {FEW_REGIONS} regions."
)

GateFrames = Mapping[str, pd.DataFrame]
"""By tap of a gate, what ``gate_by_octave`` returns."""


def gate_by_size_data(frames: Mapping[str, GateFrames]) -> pd.DataFrame:
    """Return the frames of all gates of all networks as one table; the figure draws a part of it.

    Returns:
        ``model``, ``tap``, ``source`` and ``target`` (branches), then the columns of
        ``gate_by_octave``; no rows without gates.
    """
    parts = []
    for model, gates in frames.items():
        for tap, frame in gates.items():
            edge = gate_edge(tap)
            parts.append(frame.assign(model=model, tap=tap, source=edge.source, target=edge.target))
    first = ["model", "tap", "source", "target"]
    if not parts:
        return pd.DataFrame(columns=[*first, *COLUMNS])
    table = pd.concat(parts, ignore_index=True)
    return table[[*first, *(name for name in table if name not in first)]]


def figure_gate_by_size(
    frames: Mapping[str, GateFrames],
    *,
    strides: Mapping[str, Sequence[int]],
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw the mean opening of the last module's gates, and of the transitions', by object size.

    A grid per network with gates, from each source branch (row) to each target (column), with the
    transitions at the right. The gates of earlier modules are in ``gate_by_size_data`` only.

    Args:
        frames: By network (A, B), then by tap; a network without gates has no taps and gets a
            line that says so.
        strides: By network, pixels per cell of each branch.
        names: By network, the checkpoint's name for the heading.
        width: Inches.

    Raises:
        GstoVizError: No network has gates, a frame is not what ``gate_by_octave`` returns, or a
            network has no strides.
    """
    shown = {key: _Block(key, gates, strides) for key, gates in frames.items()}
    drawn = [block.table() for block in shown.values() if block.frames]
    if not drawn:
        raise GstoVizError("no network has gates, so there is no opening to draw; leave it out")
    rows = pd.concat(drawn)
    octaves = (int(rows["octave"].min()), int(rows["octave"].max()))
    limit = _limit(rows)
    text = wrap(CAPTION, width - 2 * MARGIN, style.SMALL)
    with style.context():
        height = sum(block.height for block in shown.values())
        handles = _legend()
        legend = legend_height(handles, width)
        page = Page(width, 2 * MARGIN + height + legend + text_height(text, style.SMALL))
        top = MARGIN
        for key, block in shown.items():
            block.draw(page, top, title_of(key, names), octaves, limit)
            top += block.height
        draw_legend(page, handles, top)
        page.text(MARGIN, page.height - MARGIN, text, va="bottom", fontsize=style.SMALL)
    set_alt_text(page.figure, _alt_text(shown))
    return page.figure


class _Block:
    """One network's part of the page."""

    def __init__(self, key: str, gates: GateFrames, strides: Mapping[str, Sequence[int]]) -> None:
        if key not in strides:
            raise GstoVizError(f"'{key}' has no strides; give those of its branches")
        self.strides = tuple(strides[key])
        self.grid: GateGrid = arrange_gates(gates)
        taps = [*self.grid.edges.values(), *self.grid.transitions.values()]
        for tap in taps:
            check_columns(gates[tap], COLUMNS, "gate_by_octave(...)")
        self.frames = {tap: gates[tap] for tap in taps}

    def table(self) -> pd.DataFrame:
        """Return the rows that are drawn."""
        return pd.concat([frame.assign(tap=tap) for tap, frame in self.frames.items()])

    @property
    def rows(self) -> int:
        """Rows of panels."""
        branches = len(self.strides) if self.grid.edges else 0
        return max(branches, len(self.grid.transitions))

    @property
    def height(self) -> float:
        """Inches that the block takes."""
        if not self.frames:
            return HEAD
        return (
            HEAD
            + SIZES_TITLE
            + self.rows * CHART
            + (self.rows - 1) * SIZES_TITLE
            + FOOT
            + CHART_GAP
        )

    def draw(
        self, page: Page, top: float, title: str, octaves: tuple[int, int], limit: float
    ) -> None:
        """Draw heading and panels below ``top``, inches from the page's top."""
        note = f", {self.grid.site}" if self.grid.site else ", transitions"
        heading = f"{title}{note if self.frames else f': {NO_GATES}'}"
        heading = shorten(heading, page.width - 2 * MARGIN, style.HEADING, bold=True)
        page.text(MARGIN, top, heading, fontsize=style.HEADING, fontweight="bold")
        if not self.frames:
            return
        branches = len(self.strides)
        slot = (page.width - SIZES_SIDE - 2 * MARGIN - (branches + 1) * CHART_GAP) / (branches + 1)
        label = SIZE if text_width(SIZE, 7.0) < slot else SHORT_SIZE
        for row in range(branches if self.grid.edges else 0):
            y = self._row_top(top, row) + CHART / 2
            page.text(MARGIN, y, f"from\nstride {self.strides[row]}", va="center")
            for column in range(branches):
                ax = self._axes(page, top, row, column, slot)
                if row == 0:
                    ax.set_title(f"to stride {self.strides[column]}", pad=3)
                self._fill(ax, self.grid.edges.get((row, column)), octaves, limit)
                ax.tick_params(labelleft=column == 0, labelbottom=row == self.rows - 1)
                ax.set_ylabel("mean g'" if column == 0 else "")
                ax.set_xlabel(label if row == self.rows - 1 else "")
        for row, (stage, tap) in enumerate(sorted(self.grid.transitions.items())):
            ax = self._axes(page, top, row, branches, slot)
            title = f"transition {stage}, stride {self.strides[stage - 1]}"
            ax.set_title(shorten(title, slot, 7.0), pad=3)
            self._fill(ax, tap, octaves, limit)
            lowest = row == len(self.grid.transitions) - 1
            ax.tick_params(labelleft=not self.grid.edges, labelbottom=lowest)
            ax.set_xlabel(label if lowest else "")

    def _row_top(self, top: float, row: int) -> float:
        return top + HEAD + SIZES_TITLE + row * (CHART + SIZES_TITLE)

    def _axes(self, page: Page, top: float, row: int, column: int, slot: float) -> Axes:
        # One more gap sets the column of transitions apart from the grid.
        extra = CHART_GAP if column == len(self.strides) else 0.0
        left = SIZES_SIDE + column * (slot + CHART_GAP) + extra
        return page.axes(left, self._row_top(top, row), slot, CHART)

    def _fill(self, ax: Axes, tap: str | None, octaves: tuple[int, int], limit: float) -> None:
        """Draw one gate's two curves, or say that there is no gate."""
        octave_axis(ax, *octaves, "", px=False)
        ax.set_ylim(0, limit)
        ax.set_yticks([0, limit / 2, limit], ["0", f"{limit / 2:g}", f"{limit:g}"])
        if tap is None:
            ax.text(0.5, 0.5, "no gate", transform=ax.transAxes, ha="center", color=GUIDE)
            return
        ax.set_label(tap)
        color, _ = branch_style(gate_edge(tap).source)
        for part, line in PARTS.items():
            rows = self.frames[tap]
            _draw_part(ax, rows[rows["part"] == part].sort_values("octave"), color, part, line)


def _draw_part(ax: Axes, rows: pd.DataFrame, color: str, part: str, line: str) -> None:
    """Draw the curve of cores or of bands; cores have full markers, points of few regions grey."""
    x = rows["octave"].to_numpy(dtype=np.float64) + 0.5
    mean, low, high = (rows[name].to_numpy(dtype=np.float64) for name in ("mean", "low", "high"))
    few = rows["n_regions"].to_numpy() < FEW_REGIONS
    ax.fill_between(x, low, high, where=~np.isnan(low), color=color, alpha=0.15, linewidth=0)
    ax.plot(x, mean, color=color, linestyle=line, linewidth=1.0, label=part, zorder=3)
    for chosen, edge in ((~few, color), (few, FEW)):
        ax.plot(
            x[chosen],
            mean[chosen],
            color=edge,
            marker="o",
            markersize=2.8,
            markeredgewidth=0.7,
            markerfacecolor=edge if part == "core" else "white",
            linestyle="None",
            clip_on=False,
            zorder=4,
        )


def _limit(rows: pd.DataFrame) -> float:
    """Return the upper end of the y axis for all panels."""
    largest = float(np.nanmax(rows[["mean", "high"]].to_numpy(dtype=np.float64), initial=0.0))
    return next(limit for limit in LIMITS if largest <= limit)


def _legend() -> list[Line2D]:
    faces = {"core": GUIDE, "band": "white"}
    texts = {"core": "core: inside of the region", "band": f"band: {BAND_PX:g} px along its edge"}
    return [
        Line2D(
            [], [], color=GUIDE, linestyle=line, marker="o", markersize=2.8,
            markerfacecolor=faces[part], label=texts[part],
        )
        for part, line in PARTS.items()
    ]  # fmt: skip


def _alt_text(blocks: Mapping[str, _Block]) -> str:
    """Describe the grids, and how each transition's gate goes with size."""
    parts = []
    for key, block in blocks.items():
        if not block.frames:
            parts.append(f"{key}: {NO_GATES}.")
            continue
        said = [f"{key}: {len(block.grid.edges)} gates of {block.grid.site or 'no fusion'}"]
        for tap in block.grid.transitions.values():
            core = block.frames[tap].query("part == 'core'").sort_values("octave")
            if len(core):
                ends = f"from {core['mean'].iloc[0]:.2f} to {core['mean'].iloc[-1]:.2f}"
                said.append(f"{tap} {ends} with growing size in cores")
        parts.append(f"{'; '.join(said)}.")
    return f"Mean opening of gates against region size, core and band. {' '.join(parts)}"
