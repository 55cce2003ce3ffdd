"""Gate maps as small multiples, and how far gates open by object size."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.activity import HeatMap, gate_map, saturated_share
from gsto_viz.anatomy import edge_named, site_numbers
from gsto_viz.colors import branch_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.look import Look
from gsto_viz.plots.page import (
    BODY,
    GAP,
    GUIDE,
    MARGIN,
    SMALL,
    WIDTH,
    Page,
    begin_with,
    check_columns,
    context,
    draw_curve,
    fit_panel,
    octave_axis,
    shorten,
    title_of,
)
from gsto_viz.plots.panels import BAR_HEIGHT, draw_heatmap, fill_bar, number
from gsto_viz.plots.sizes import FEW_REGIONS
from gsto_viz.types import BAND_PX, Stride, stride_words
from gsto_viz.words import GATE

NO_GATES = "no gate maps on its transfers"
"""Written where a network has none; it may have gates elsewhere, or one value per channel."""
CELL_HEIGHT = 0.72
"""Largest height of one gate map, inches."""
TITLE, SHARE = 0.17, 0.18
"""Inches for a title above a map and for the saturated share below it."""
BAR_ROOM = 0.5
"""Inches for the colour bar with its title and numbers."""


Edges = dict[tuple[int, int], str]
"""Tap of the gate by source and target branch."""


@dataclass(frozen=True)
class GateGrid:
    """The gates of one fusion and of the transitions.

    Attributes:
        site: Stage and module of the fusion, e.g. ``stage4.m2``; empty without fusion gates.
        edges: Of its gates.
        transitions: Tap name by the stage that the transition follows.
    """

    site: str
    edges: Edges
    transitions: dict[int, str]

    @property
    def taps(self) -> list[str]:
        """Every gate."""
        return [*self.edges.values(), *self.transitions.values()]


def gates_by_site(names: Iterable[str]) -> tuple[dict[str, Edges], dict[int, str]]:
    """Return the taps of gates: of each fusion by its edges, and of transitions by their stage.

    Raises:
        GstoVizError: A name says no edge, so the gate has no cell in a grid.
    """
    fusions: dict[str, Edges] = {}
    transitions = {}
    for name in names:
        edge = edge_named(name)
        if edge.new:
            transitions[edge.target] = name
        else:
            fusions.setdefault(edge.site, {})[edge.source, edge.target] = name
    return fusions, transitions


def arrange_gates(names: Iterable[str]) -> GateGrid:
    """Pick the gates of the last fusion that has any, and those of the transitions, by tap name."""
    fusions, transitions = gates_by_site(names)
    site = max(fusions, key=site_numbers, default="")
    return GateGrid(site, fusions.get(site, {}), transitions)


def draw_gate(heatmap: HeatMap, *, ax: Axes, size: tuple[int, int]) -> None:
    """Draw one gate map; below it, the share of cells that are as closed as the form allows.

    Args:
        heatmap: What ``gsto_viz.activity.gate_map`` returns.
        ax: Where.
        size: (H, W) of the image.
    """
    draw_heatmap(heatmap, ax=ax, size=size, bar=False)
    share = saturated_share(heatmap.values, (heatmap.low, heatmap.high))
    ax.set_xlabel(f"{percent(share)} at {number(heatmap.low)}", fontsize=SMALL, labelpad=2)


def percent(share: float) -> str:
    """Return a share in percent; 0% and 100% only where they are exact."""
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"


class GateCell(NamedTuple):
    """The place of one gate on a page; ``tap`` is None where the fusion has none."""

    tap: str | None
    row: int
    column: int
    left: float
    top: float
    source: int


class GateTable:
    """A table of gates below ``page.top``: a row per source, a column per target, transitions.

    Args:
        page: Where.
        grid: The gates.
        strides: Of the branches.
        side: Inches left of the table, for the names of the sources.
        cell: Height of a cell, inches.
        steps: Inches from one row to the next, and from one transition to the next.
        gap: Inches between columns.
    """

    def __init__(
        self,
        page: Page,
        grid: GateGrid,
        strides: Sequence[Stride],
        *,
        side: float,
        cell: float,
        steps: tuple[float, float],
        gap: float = GAP,
    ) -> None:
        self.page, self.grid, self.strides = page, grid, strides
        self.side, self.cell, self.steps, self.gap = side, cell, steps, gap
        self.slot = (page.room - side - (len(strides) + 1) * gap) / (len(strides) + 1)
        self.top = page.top + TITLE
        # A fusion has a row for every branch; a pyramid, without a number, starts from one feature.
        fuses = bool(site_numbers(grid.site))
        self.rows = len(strides) if grid.edges and fuses else min(1, len(grid.edges))

    def left(self, column: int) -> float:
        """Return where a column begins; one more gap sets transitions apart."""
        extra = self.gap if column == len(self.strides) else 0.0
        return MARGIN + self.side + column * (self.slot + self.gap) + extra

    @property
    def height(self) -> float:
        """Inches that the table takes."""
        row, transition = self.steps
        return TITLE + max(self.rows * row, len(self.grid.transitions) * transition)

    def cells(self) -> Iterator[GateCell]:
        """Yield the places, and write the names of rows, columns and transitions around them."""
        for row in range(self.rows):
            y = self.top + row * self.steps[0]
            middle, name = y + self.cell / 2, f"from\n{stride_words(self.strides[row])}"
            self.page.text(MARGIN, middle, name, va="center")
            for column in range(len(self.strides)):
                if row == 0:
                    self._name(f"to {stride_words(self.strides[column])}", column, y)
                tap = self.grid.edges.get((row, column))
                yield GateCell(tap, row, column, self.left(column), y, row)
        last = len(self.strides)
        for row, (stage, tap) in enumerate(sorted(self.grid.transitions.items())):
            y = self.top + row * self.steps[1]
            self._name(f"transition {stage}, {stride_words(self.strides[stage - 1])}", last, y)
            yield GateCell(tap, row, last, self.left(last), y, stage - 1)

    def _name(self, text: str, column: int, y: float) -> None:
        """Write a name above a cell."""
        middle = self.left(column) + self.slot / 2
        short = shorten(text, self.slot, BODY)
        self.page.text(middle, y - 0.03, short, ha="center", va="bottom")


def draw_gates(page: Page, inspection: Look, size: tuple[int, int]) -> None:
    """Draw the gates of one network with one colour bar, and move below them.

    Args:
        page: Where.
        inspection: Of a network with gates.
        size: (H, W) of the image.

    Raises:
        GstoVizError: The gates have no range.
    """
    limits = inspection.gate_range
    if limits is None:
        raise GstoVizError(f"'{inspection.name}' has gates but no gate_range; give its form's")
    grid, strides = arrange_gates(inspection.gates), inspection.strides
    side, count = 0.6, len(strides) + 1
    slot = (page.room - side - count * GAP) / count
    width, height = fit_panel(size, slot, CELL_HEIGHT)
    steps = (height + SHARE, height + SHARE + TITLE)
    table = GateTable(page, grid, strides, side=side, cell=height, steps=steps)
    for cell in table.cells():
        if cell.tap is None:
            note = "identity" if cell.row == cell.column else "no gate"
            middle = cell.left + slot / 2, cell.top + height / 2
            page.text(*middle, note, ha="center", va="center", color=GUIDE, fontsize=SMALL)
            continue
        ax = page.axes(cell.left + (slot - width) / 2, cell.top, width, height, label=cell.tap)
        stride = strides[cell.source]
        heat = gate_map(inspection.gates[cell.tap], stride=stride, limits=limits)
        draw_gate(heat, ax=ax, size=size)
    used = len(grid.transitions) * steps[1]
    page.top += max(table.height, used + BAR_ROOM)
    left, top = table.left(len(strides)), page.top - BAR_ROOM
    page.text(left, top + 0.14, GATE.axis, va="bottom")
    bar = page.axes(left, top + 0.17, slot, BAR_HEIGHT, label="gate bar")
    fill_bar(gate_map(np.array([limits]), stride=1, limits=limits), bar)
    page.top += GAP


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
TICKS = 0.08
"""Inches between the ticks of a transition's panel and the name of the next one."""
FOOT = 0.5
"""Inches below a network's panels."""
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
            edge = edge_named(tap)
            parts.append(frame.assign(model=model, tap=tap, source=edge.source, target=edge.target))
    first = ("model", "tap", "source", "target")
    if not parts:
        return pd.DataFrame(columns=[*first, *COLUMNS])
    return begin_with(pd.concat(parts, ignore_index=True), *first)


@context()
def figure_gate_by_size(
    frames: Mapping[str, GateFrames],
    *,
    strides: Mapping[str, Sequence[Stride]],
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
    grids = {key: _grid(key, gates, strides) for key, gates in frames.items()}
    drawn = [frames[key][tap] for key, grid in grids.items() for tap in grid.taps]
    if not drawn:
        raise GstoVizError("no network has gates, so there is no opening to draw; leave it out")
    rows = pd.concat(drawn)
    octaves = (int(rows["octave"].min()), int(rows["octave"].max()))
    largest = float(np.nanmax(rows[["mean", "high"]].to_numpy(dtype=np.float64), initial=0.0))
    limit = next(one for one in LIMITS if largest <= one)
    page = Page(width)
    for key, grid in grids.items():
        note = NO_GATES if not grid.taps else grid.site or "transitions"
        join = ", " if grid.taps else ": "
        page.heading(f"{title_of(key, names)}{join}{note}", step=0.2)
        if grid.taps:
            _draw_network(page, grid, frames[key], strides[key], octaves, limit)
    page.legend(part_handles())
    return page.finish(CAPTION, _alt_text(grids, frames))


def _grid(key: str, gates: GateFrames, strides: Mapping[str, Sequence[Stride]]) -> GateGrid:
    """Arrange the gates of one network, and refuse frames that are not of gates."""
    if key not in strides:
        raise GstoVizError(f"'{key}' has no strides; give those of its branches")
    grid = arrange_gates(gates)
    for tap in grid.taps:
        check_columns(gates[tap], COLUMNS, "gate_by_octave(...)")
    return grid


def _draw_network(
    page: Page,
    grid: GateGrid,
    frames: GateFrames,
    strides: Sequence[Stride],
    octaves: tuple[int, int],
    limit: float,
) -> None:
    """Draw one network's panels below ``page.top``, and move below them."""
    step = CHART + TITLE
    steps = (step, step + TICKS)
    table = GateTable(page, grid, strides, side=0.93, cell=CHART, steps=steps, gap=0.12)
    for cell in table.cells():
        ax = page.axes(cell.left, cell.top, table.slot, CHART)
        ax.set_ylim(0, limit)
        ax.set_yticks([0, limit / 2, limit], ["0", f"{limit / 2:g}", f"{limit:g}"])
        transition = cell.column == len(strides)
        lowest = cell.row == (len(grid.transitions) if transition else table.rows) - 1
        first = not table.rows if transition else cell.column == 0
        ax.tick_params(labelleft=first, labelbottom=lowest)
        labels = (SIZE, SHORT_SIZE) if lowest else ("",)
        octave_axis(ax, *octaves, *labels, px=False)
        ax.set_ylabel("mean g'" if first and not transition else "")
        if cell.tap is None:
            ax.text(0.5, 0.5, "no gate", transform=ax.transAxes, ha="center", color=GUIDE)
            continue
        ax.set_label(cell.tap)
        rows = frames[cell.tap]
        for part, line in PARTS.items():
            own = rows[rows["part"] == part].sort_values("octave")
            few = own["n_regions"].to_numpy() < FEW_REGIONS
            draw_curve(
                ax, own, "octave", branch_mark(cell.source).color, few=few, hollow=part == "band",
                line={"linestyle": line, "linewidth": 1.0}, label=part,
                marker="o", markersize=2.8, markeredgewidth=0.7, clip_on=False,
            )  # fmt: skip
    page.top += table.height + FOOT - TITLE


def part_handles() -> list[Line2D]:
    """Return the handles of core and band for a legend."""
    faces = {"core": GUIDE, "band": "white"}
    texts = {"core": "core: inside of the region", "band": f"band: {BAND_PX:g} px along its edge"}
    return [
        Line2D(
            [], [], color=GUIDE, linestyle=line, marker="o", markersize=2.8,
            markerfacecolor=faces[part], label=texts[part],
        )
        for part, line in PARTS.items()
    ]  # fmt: skip


def _alt_text(grids: Mapping[str, GateGrid], frames: Mapping[str, GateFrames]) -> str:
    """Describe the grids, and how each transition's gate goes with size."""
    parts = []
    for key, grid in grids.items():
        if not grid.taps:
            parts.append(f"{key}: {NO_GATES}.")
            continue
        said = [f"{key}: {len(grid.edges)} gates of {grid.site or 'no fusion'}"]
        for tap in grid.transitions.values():
            core = frames[key][tap].query("part == 'core'").sort_values("octave")
            if len(core):
                ends = f"from {core['mean'].iloc[0]:.2f} to {core['mean'].iloc[-1]:.2f}"
                said.append(f"{tap} {ends} with growing size in cores")
        parts.append(f"{'; '.join(said)}.")
    return f"Mean opening of gates against region size, core and band. {' '.join(parts)}"
