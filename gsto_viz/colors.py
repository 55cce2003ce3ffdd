"""How branches and networks are drawn: colour, marker, dash; the same in figures and pages."""

from dataclasses import dataclass

from gsto_viz.errors import GstoVizError


@dataclass(frozen=True)
class Mark:
    """How a branch or a network is drawn; each of the three tells it from the others.

    Attributes:
        color: Hexadecimal; a contrast of 3 to 1 or more both on white and on a dark page.
        marker: Matplotlib's name.
        shape: The same in Vega's words.
        dash: Lengths of line and gap, in line widths; empty: a whole line.
    """

    color: str
    marker: str
    shape: str
    dash: tuple[float, ...] = ()


BRANCHES = (
    Mark("#0072B2", "o", "circle"),
    Mark("#D55E00", "s", "square"),
    Mark("#009E73", "^", "triangle-up"),
    Mark("#CC79A7", "D", "diamond"),
    Mark("#905040", "v", "triangle-down"),
    Mark("#007070", "P", "cross"),
)
"""By branch, the finest first. The first four are of Okabe and Ito (2008); all stay apart for
colour-blind readers."""
NETWORKS = (
    Mark("#6C54CC", "o", "circle"),
    Mark("#C05460", "D", "diamond", (4, 2)),
    Mark("#909C00", "^", "triangle-up", (1.5, 1.5)),
    Mark("#3C6C00", "s", "square", (6, 2, 1.5, 2)),
    Mark("#249CE4", "v", "triangle-down", (8, 2)),
    Mark("#188490", "P", "cross", (4, 1.5, 1, 1.5, 1, 1.5)),
    Mark("#789C90", ">", "triangle-right", (1, 3)),
    Mark("#B4246C", "<", "triangle-left", (2.5, 1)),
)
"""By network, the reference first; no colour is that of a branch."""


HEARD = "#F0E442"
"""Of the cells that a pixel listens to; of no branch and no network, and bright on photographs."""


def branch_mark(position: int) -> Mark:
    """Return how a branch is drawn, 0 = the finest.

    Raises:
        GstoVizError: There are six; a seventh would repeat one.
    """
    if not 0 <= position < len(BRANCHES):
        last = len(BRANCHES) - 1
        raise GstoVizError(f"branch {position} has no colour; figures show branches 0 to {last}")
    return BRANCHES[position]


def network_mark(position: int) -> Mark:
    """Return how a network is drawn by its position, 0 = the reference.

    Raises:
        GstoVizError: There are eight; a ninth would repeat one.
    """
    if not 0 <= position < len(NETWORKS):
        raise GstoVizError(f"figures show up to {len(NETWORKS)} networks; draw fewer at once")
    return NETWORKS[position]
