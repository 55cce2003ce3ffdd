"""The headline of one model, and whether it is scale-aware in the strict sense.

Strict awareness asks for three things at once: SCI below what untuned networks can show by
accident, below what random weights show, and a cross-over, which is the one sign that no
re-scaling of the branches can remove. A model that is not strictly aware is not thereby confused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gsto_viz.stats.inference import Estimate, cause
from gsto_viz.stats.sci import (
    EDGE_DEPTH_PX,
    c_coarse,
    c_fine,
    concordance,
    pair_counts,
    sci,
    sci_edge,
)
from gsto_viz.stats.tables import Tables, branch_count, merge_tables

FALSE_SIGNAL = 0.43
"""Without any tuning of the branches, noise that differs between them moved SCI within .43-.57."""
MIN_DRAWS = 5
"""Random networks differ a lot; fewer draws say nothing on their range."""
State = Literal["holds", "fails", "not judged"]


@dataclass(frozen=True)
class Condition:
    """One condition of the strict verdict."""

    name: str
    state: State
    why: str
    """The numbers compared, or what is missing."""


@dataclass(frozen=True)
class Verdict:
    """The three conditions of strict awareness."""

    below_false_signal: Condition
    below_random: Condition
    cross_over: Condition

    @property
    def conditions(self) -> tuple[Condition, Condition, Condition]:
        """All three, in the order above."""
        return self.below_false_signal, self.below_random, self.cross_over

    @property
    def state(self) -> State:
        """``holds`` when all hold, ``fails`` when one fails, else ``not judged``."""
        states = [condition.state for condition in self.conditions]
        if "fails" in states:
            return "fails"
        return "not judged" if "not judged" in states else "holds"

    @property
    def words(self) -> str:
        """The verdict, with the conditions that hold, that fail and that are not judged."""
        if self.state == "holds":
            return "Scale-aware in the strict sense: all three conditions hold."
        listed = []
        for state in get_args(State):
            names = [c.name for c in self.conditions if c.state == state]
            if names:
                listed.append(f"{state}: {', '.join(names)}")
        conditions = "; ".join(listed)
        if self.state == "fails":
            return (
                f"Not scale-aware in the strict sense ({conditions}). "
                "This alone does not make it confused."
            )
        return f"Strict awareness could not be judged ({conditions})."


@dataclass(frozen=True)
class Headline:
    """The indices of one model that are always shown together."""

    sci: Estimate
    sci_edge: Estimate
    c_fine: Estimate
    c_coarse: Estimate
    a_first_matched: Estimate
    """Size preference of the finest branch on the coarsest grid."""
    a_last: Estimate
    """Size preference of the coarsest branch."""
    sci_same_class: Estimate
    sci_whole: Estimate
    """SCI of whole masks instead of cores."""
    core_pair_share: float | None
    """Share of SCI's pairs in which both regions were read through their core."""


def headline(
    tables: Tables,
    *,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
    min_depth_px: float = EDGE_DEPTH_PX,
) -> Headline:
    """Estimate the headline indices of one model.

    Args:
        tables: One region table or a sequence of them.
        clusters: Cluster of each image (blocks of video frames).
        seed: Of the bootstrap.
        min_depth_px: For SCI_edge: the coarsest stride.
    """
    last = branch_count(tables, "z") - 1
    return Headline(
        sci=sci(tables, clusters=clusters, seed=seed),
        sci_edge=sci_edge(tables, min_depth_px=min_depth_px, clusters=clusters, seed=seed),
        c_fine=c_fine(tables, clusters=clusters, seed=seed),
        c_coarse=c_coarse(tables, clusters=clusters, seed=seed),
        a_first_matched=concordance(tables, 0, response="z_matched", clusters=clusters, seed=seed),
        a_last=concordance(tables, last, clusters=clusters, seed=seed),
        sci_same_class=sci(tables, same_class=True, clusters=clusters, seed=seed),
        sci_whole=sci(tables, response="q_whole", clusters=clusters, seed=seed),
        core_pair_share=core_pair_share(tables),
    )


def core_pair_share(tables: Tables) -> float | None:
    """Return the share of pairs whose regions were both read through their core; None: no pair."""
    table = merge_tables(tables, ["area_px", "class_id", "qualifies", "part", "q"])
    pairs = int(pair_counts(table, "q")["pairs"].sum())
    cores = int(pair_counts(table[table["part"] == "core"], "q")["pairs"].sum())
    return cores / pairs if pairs else None


def strict_verdict(
    index: Estimate,
    random_weights: Sequence[float],
    a_first_matched: Estimate,
    a_last: Estimate,
) -> Verdict:
    """Judge strict scale awareness.

    Args:
        index: SCI of the model.
        random_weights: SCI of the same architecture with random weights, one number per draw.
        a_first_matched: Size preference of the finest branch, pooled to the coarsest grid.
        a_last: Size preference of the coarsest branch.

    Returns:
        The three conditions, each holds, fails or not judged, with the numbers that decided.
    """
    return Verdict(
        below_false_signal=_below(
            f"interval of SCI below {FALSE_SIGNAL}", index, FALSE_SIGNAL, "the false-signal margin"
        ),
        below_random=_below_random(index, random_weights),
        cross_over=_cross_over(a_first_matched, a_last),
    )


def _below(name: str, index: Estimate, limit: float, what: str) -> Condition:
    if index.high is None:
        return Condition(name, "not judged", f"SCI has no interval: {cause(index.reason)}")
    state: State = "holds" if index.high < limit else "fails"
    return Condition(name, state, f"upper end {index.high:.3f}, {what} {limit:.3f}")


def _below_random(index: Estimate, draws: Sequence[float]) -> Condition:
    name = "interval of SCI below random weights"
    if len(draws) < MIN_DRAWS:
        why = f"{len(draws)} draws of random weights, their range needs {MIN_DRAWS}"
        return Condition(name, "not judged", why)
    return _below(name, index, min(draws), f"the lowest of {len(draws)} random networks")


def _cross_over(first: Estimate, last: Estimate) -> Condition:
    """Judge A(finest, pooled) < 0.5 < A(coarsest) with both intervals off 0.5."""
    name = "cross-over at matched resolution"
    reasons = [one.reason for one in (first, last) if one.low is None or one.high is None]
    if first.high is None or last.low is None:
        return Condition(
            name, "not judged", f"a size preference has no interval: {cause(reasons[0])}"
        )
    state: State = "holds" if first.high < 0.5 < last.low else "fails"
    why = (
        f"finest branch {first.value:.3f} [{first.low:.3f}, {first.high:.3f}], "
        f"coarsest {last.value:.3f} [{last.low:.3f}, {last.high:.3f}], chance 0.5"
    )
    return Condition(name, state, why)
