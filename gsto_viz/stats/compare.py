"""Is the difference between two networks real? Paired comparisons, the verdict, specifications.

Four indices are confirmatory (SCI, SCI_edge, and the size preference of the finest and coarsest
branch on one grid), with any causal index the caller adds; their p values are adjusted together
by Holm. All others are exploratory and adjusted by Benjamini and Hochberg.

Strict awareness asks for three things at once: SCI below what untuned networks can show by
accident, below what random weights show, and a cross-over, which is the one sign that no
re-scaling of the branches can remove. A model that is not strictly aware is not thereby confused.

The specification curve asks whether B - A keeps its sign whatever reasonable choices one makes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Literal, get_args

import numpy as np
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.regions.find import MIN_AREA_PX
from gsto_viz.stats.inference import (
    EACH,
    MARGIN,
    Equivalence,
    Estimate,
    Images,
    SignFlip,
    benjamini_hochberg,
    cause,
    cliffs_delta,
    d_z,
    equivalence,
    estimate,
    holm,
    not_estimated,
    sign_flip,
)
from gsto_viz.stats.pairs import (
    EDGE_DEPTH_PX,
    GAP_BINS,
    Size,
    Tables,
    branch_count,
    index_values,
    merge_tables,
    pair_counts,
    sci_values,
)
from gsto_viz.types import CROWD
from gsto_viz.words import INDICES, Index

Family = Literal["confirmatory", "exploratory"]


@dataclass(frozen=True)
class Comparison:
    """One index of two models on the same images, B - A."""

    index: str
    family: Family
    a: float | None
    b: float | None
    """Values over the images in which both models have one."""
    difference: Estimate
    """B - A, its 95 % interval, images and pairs."""
    test: SignFlip
    p_adjusted: float | None
    """Within the family: Holm (confirmatory) or Benjamini-Hochberg (exploratory)."""
    d_z: float | None
    """Mean over standard deviation of the per-image differences."""
    cliffs_delta_a: float | None
    cliffs_delta_b: float | None
    """1 - 2 x index, [-1, 1]."""
    equivalence: Equivalence
    n_unpaired: int
    """Images in which only one of the models has a value; they are left out."""


def compared_values(
    tables: Tables, min_depth_px: float = EDGE_DEPTH_PX
) -> list[tuple[str, Family, pd.DataFrame]]:
    """Compute every index that is compared, per image.

    Returns:
        Name, family, and a table ``image``, ``value``, ``pairs`` of each.
    """
    values = index_values(tables, min_depth_px)
    # comparison.csv has always had exploratory indices in this order.
    families: Mapping[Family, Iterable[Index]] = {
        "confirmatory": INDICES.values(),
        "exploratory": reversed(INDICES.values()),
    }
    found = [
        (word.key, family, values[word.key])
        for family, words in families.items()
        for word in words
        if word.family == family
    ]
    for low, high in GAP_BINS:
        end = f"{high:g}" if np.isfinite(high) else "up"
        one = sci_values(tables, gap=(low, high))
        found.append((f"sci_gap_{low:g}_{end}", "exploratory", one))
    return found


def compare_values(
    index: str,
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    family: Family = "exploratory",
    images: Images = EACH,
    margin: float = MARGIN,
) -> Comparison:
    """Compare per-image values of two models on the images that both have.

    Args:
        index: Name of the index.
        a: ``image``, ``value``, ``pairs`` of model A; every image once, values finite.
        b: The same of model B.
        family: Which family the test belongs to.
        margin: Largest difference that counts as equivalent.

    Returns:
        The comparison, ``p_adjusted`` still None; numbers that its conditions do not allow are
        None, with the reason beside them.
    """
    both = a.merge(b, on="image", suffixes=("_a", "_b"), validate="one_to_one")
    both = both.sort_values("image", ignore_index=True)
    names = both["image"].tolist()
    unpaired = len(a) + len(b) - 2 * len(both)
    difference = (both["value_b"] - both["value_a"]).to_numpy(dtype=np.float64)
    paired = pd.DataFrame({"image": names, "value": difference, "pairs": both["pairs_b"]})
    result = estimate(paired, images)
    if not names:
        why = result.reason
        nothing = SignFlip(None, 0, False, why), Equivalence(None, None, None, margin, why)
        return Comparison(
            index, family, None, None, result, nothing[0], None, None, None, None, nothing[1],
            unpaired,
        )  # fmt: skip
    value_a, value_b = float(both["value_a"].mean()), float(both["value_b"].mean())
    return Comparison(
        index=index,
        family=family,
        a=value_a,
        b=value_b,
        difference=result,
        test=sign_flip(names, difference, images),
        p_adjusted=None,
        d_z=d_z(difference),
        cliffs_delta_a=cliffs_delta(value_a),
        cliffs_delta_b=cliffs_delta(value_b),
        equivalence=equivalence(names, difference, images, margin),
        n_unpaired=unpaired,
    )


def adjust(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Fill in ``p_adjusted``, within each family, among the tests that could be made."""
    result = list(comparisons)
    for family, method in (("confirmatory", holm), ("exploratory", benjamini_hochberg)):
        tested = [
            (k, one.test.p)
            for k, one in enumerate(result)
            if one.family == family and one.test.p is not None
        ]
        for (k, _), p in zip(tested, method([p for _, p in tested]), strict=True):
            result[k] = replace(result[k], p_adjusted=p)
    return tuple(result)


def compare_tables(
    tables_a: Tables,
    tables_b: Tables,
    *,
    images: Images = EACH,
    min_depth_px: float = EDGE_DEPTH_PX,
    confirmatory: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]] | None = None,
    missing: Mapping[str, str] | None = None,
) -> tuple[Comparison, ...]:
    """Compare two models, index by index, from their region tables.

    Args:
        tables_a: Region tables of model A.
        tables_b: Region tables of model B, of the same images.
        min_depth_px: For SCI_edge: the coarsest stride.
        confirmatory: More confirmatory indices, such as SCI of Shapley margins: per-image tables
            (``image``, ``value``, ``pairs``) of A and B by name.
        missing: Indices that one of the models cannot have (``unmeasured``), with the reason.

    Returns:
        One comparison per index, confirmatory ones first, p values adjusted.
    """
    of_a, of_b = (compared_values(one, min_depth_px) for one in (tables_a, tables_b))
    pairs = [(*a, b[2]) for a, b in zip(of_a, of_b, strict=True)]
    for name, (a, b) in (confirmatory or {}).items():
        pairs.append((name, "confirmatory", a, b))
    pairs.sort(key=lambda pair: pair[1])
    missing = missing or {}
    return adjust(
        not_compared(name, family, missing[name])
        if name in missing
        else compare_values(name, a, b, family=family, images=images)
        for name, family, a, b in pairs
    )


def not_compared(index: str, family: Family, reason: str) -> Comparison:
    """Return a row of an index that is not defined for both models."""
    nothing = pd.DataFrame({"image": [], "value": [], "pairs": []})
    one = compare_values(index, nothing, nothing, family=family)
    return replace(one, difference=not_estimated(reason))


def comparison_table(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """Lay comparisons out as one row each.

    Returns:
        ``index``, ``family``, ``a``, ``b``, ``difference``, ``low``, ``high``, ``p``,
        ``p_adjusted``, ``d_z``, ``cliffs_delta_a``, ``cliffs_delta_b``, ``equivalent`` (True,
        False or null), ``equivalence_low``, ``equivalence_high``, ``n_images``, ``n_pairs``,
        ``n_unpaired``, ``reason``; numbers that are not estimated are null.
    """
    rows = [
        {
            "index": one.index,
            "family": one.family,
            "a": one.a,
            "b": one.b,
            "difference": one.difference.value,
            "low": one.difference.low,
            "high": one.difference.high,
            "p": one.test.p,
            "p_adjusted": one.p_adjusted,
            "d_z": one.d_z,
            "cliffs_delta_a": one.cliffs_delta_a,
            "cliffs_delta_b": one.cliffs_delta_b,
            "equivalent": one.equivalence.equivalent,
            "equivalence_low": one.equivalence.low,
            "equivalence_high": one.equivalence.high,
            "n_images": one.difference.n_images,
            "n_pairs": one.difference.n_pairs,
            "n_unpaired": one.n_unpaired,
            "reason": one.difference.reason,
        }
        for one in comparisons
    ]
    frame = pd.DataFrame(rows)
    words = {"index", "family", "equivalent", "reason"}
    counts = {"n_images", "n_pairs", "n_unpaired"}
    numbers = [name for name in frame.columns if name not in words | counts]
    return frame.astype(dict.fromkeys(numbers, "float64"))


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
    """The indices of one model that are always shown together.

    ``headline.sci`` is the estimate of one of them.
    """

    indices: Mapping[str, Estimate]
    """By key of ``gsto_viz.words.INDICES``."""
    core_pair_share: float | None
    """Share of SCI's pairs in which both regions were read through their core."""

    def __getattr__(self, name: str) -> Estimate:
        found = self.__dict__.get("indices", {})
        if name in found:
            estimated: Estimate = found[name]
            return estimated
        raise AttributeError(f"no index '{name}' was estimated")


def headline(
    tables: Tables,
    *,
    images: Images = EACH,
    min_depth_px: float = EDGE_DEPTH_PX,
) -> Headline:
    """Estimate the headline indices of one model; ``min_depth_px`` is the coarsest stride."""
    values = index_values(tables, min_depth_px)
    return Headline(
        {name: estimate(one, images) for name, one in values.items()},
        core_pair_share=core_pair_share(tables),
    )


def core_pair_share(tables: Tables) -> float | None:
    """Return the share of pairs whose regions were both read through their core; None: no pair."""
    table = merge_tables(tables, ["area_px", "class_id", "qualifies", "part", "q"])
    pairs, cores = (
        int(pair_counts(one, ["q"])["q"]["pairs"].sum())
        for one in (table, table[table["part"] == "core"])
    )
    return cores / pairs if pairs else None


def strict_verdict(
    index: Estimate,
    random_weights: Sequence[float],
    a_first_matched: Estimate,
    a_last: Estimate,
) -> Verdict:
    """Judge strict scale awareness.

    ``random_weights`` holds SCI of the same architecture with random weights, one number a draw;
    the size preferences are those of the finest branch on the coarsest grid and of the coarsest.

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


@dataclass(frozen=True)
class Specification:
    """Choices that one region table leaves open; the defaults are those of the headline."""

    size: Size = "area_px"
    gap: float = 1.0
    """Smallest difference of size, octaves."""
    response: str = "q"
    """``q``, ``q_whole`` or ``q_core``."""
    min_area_px: int = MIN_AREA_PX
    """Smallest region."""
    same_class: bool | None = None
    inside: bool = False
    """Without regions that touch the image border, whose size may be cut."""
    pure: bool = False
    """Only regions that fill at least half of their cells on the coarsest grid."""


@dataclass(frozen=True, eq=False)
class SpecificationCurve:
    """B - A under every specification, the headline's first."""

    table: pd.DataFrame
    """The settings, then ``difference``, ``low``, ``high``, ``p`` (not adjusted), ``n_images``,
    ``n_pairs``, ``reason``; one row per specification in the order given."""
    same_sign: float | None
    """Share of the estimated specifications whose difference has the sign of the headline's,
    itself included; None when the headline's is not estimated or is 0."""
    estimated: int
    """Specifications with a difference."""
    reason: str | None = None


def default_specifications() -> tuple[Specification, ...]:
    """Return the choices within one region table, the headline's first."""
    sizes: tuple[Size, ...] = ("area_px", "inscribed")
    grid = [
        Specification(size=size, gap=gap, response=response, min_area_px=area)
        for size, gap, response, area in product(
            sizes, (1.0, 0.5, 2.0), ("q", "q_whole"), (64, 16, 256)
        )
    ]
    extra = [Specification(same_class=True), Specification(inside=True), Specification(pure=True)]
    return (*grid, *extra)


def specified_values(tables: Tables, specification: Specification) -> pd.DataFrame:
    """Compute SCI per image under one specification: ``image``, ``value``, ``pairs``."""
    response = specification.response
    purity = f"purity_{branch_count(tables, 'z') - 1}"
    columns = ["area_px", "max_distance_px", "class_id", "qualifies", "border", "z_0"]
    parts = [tables] if isinstance(tables, pd.DataFrame) else list(tables)
    numbered = all("instance_id" in part for part in parts)
    table = merge_tables(parts, [*columns, purity, response, *["instance_id"] * numbered])
    # Below the floor a region does not qualify for its area alone, if it has a response at all.
    small = (table["area_px"] < MIN_AREA_PX) & table["z_0"].notna()
    if numbered:
        small &= table["instance_id"] != CROWD
    table["qualifies"] = table["qualifies"].astype(bool) | small
    kept = table["area_px"] >= specification.min_area_px
    if specification.inside:
        kept &= ~table["border"].astype(bool)
    if specification.pure:
        kept &= table[purity] > 0.5
    return sci_values(
        table[kept],
        response=response,
        gap=(specification.gap, float("inf")),
        same_class=specification.same_class,
        size=specification.size,
    )


def specification_curve(
    specified: Iterable[tuple[Mapping[str, object], pd.DataFrame, pd.DataFrame]],
    *,
    images: Images = EACH,
) -> SpecificationCurve:
    """Compare A and B under every specification.

    Args:
        specified: Settings by name, and per-image values (``image``, ``value``, ``pairs``) of A
            and of B under them; the headline's first. All settings have the same names.

    Raises:
        GstoVizError: No specification is given.
    """
    settings, ones = [], []
    for chosen, a, b in specified:
        settings.append(dict(chosen))
        ones.append(compare_values("sci", a, b, images=images))
    if not ones:
        raise GstoVizError("no specification was given; put the headline's first")
    numbers = ["difference", "low", "high", "p", "n_images", "n_pairs", "reason"]
    table = pd.concat([pd.DataFrame(settings), comparison_table(ones)[numbers]], axis=1)
    known = table["difference"].dropna()
    first = table["difference"].iloc[0]
    if pd.isna(first) or first == 0:
        why = "the headline's difference is 0" if first == 0 else str(table["reason"].iloc[0])
        return SpecificationCurve(table, None, len(known), why)
    share = float((known * first > 0).mean())
    return SpecificationCurve(table, share, len(known))


def table_curve(
    tables_a: Tables,
    tables_b: Tables,
    *,
    specifications: Sequence[Specification] | None = None,
    images: Images = EACH,
) -> SpecificationCurve:
    """Draw the curve from the region tables of A and B alone.

    Other activities (raw, energy) and other sites need region tables of their own: make their
    per-image values with :func:`specified_values` and give them to :func:`specification_curve`.
    """
    chosen = default_specifications() if specifications is None else specifications
    return specification_curve(
        (
            (asdict(one), specified_values(tables_a, one), specified_values(tables_b, one))
            for one in chosen
        ),
        images=images,
    )
