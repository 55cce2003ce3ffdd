"""Gate maps as small multiples: source branch by target branch, and the transitions' gates."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from gsto_viz.errors import GstoVizError
from gsto_viz.heatmaps import HeatMap, gate_map, saturated_share
from gsto_viz.plots.colors import GUIDE
from gsto_viz.plots.heatmaps import BAR_HEIGHT, fill_bar, number, paint
from gsto_viz.plots.layout import GAP, MARGIN, Page, fit_panel
from gsto_viz.plots.style import SMALL
from gsto_viz.types import Inspection

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
        heatmap: What ``gsto_viz.heatmaps.gate_map`` returns.
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
