"""Is the difference between two models real? Paired comparisons B - A of every index.

Four indices are confirmatory (SCI, SCI_edge, and the size preference of the finest and coarsest
branch on one grid), with any causal index the caller adds; their p values are adjusted together
by Holm. All others are exploratory and adjusted by Benjamini and Hochberg.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from gsto_viz.stats.hypothesis import (
    MARGIN,
    Equivalence,
    SignFlip,
    benjamini_hochberg,
    cliffs_delta,
    d_z,
    equivalence,
    holm,
    sign_flip,
)
from gsto_viz.stats.inference import Estimate, estimate
from gsto_viz.stats.sci import (
    EDGE_DEPTH_PX,
    GAP_BINS,
    concordance_values,
    sci_edge_values,
    sci_values,
)
from gsto_viz.stats.tables import Tables, branch_count

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


def index_values(
    tables: Tables, min_depth_px: float = EDGE_DEPTH_PX
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Compute every index of one model per image.

    Args:
        tables: One region table or a sequence of them, with columns of the region table.
        min_depth_px: For SCI_edge: the coarsest stride.

    Returns:
        Confirmatory and exploratory indices by name, each a table ``image``, ``value``, ``pairs``.
        ``a_first_matched`` is the size preference of the finest branch on the coarsest grid,
        ``a_last`` that of the coarsest, ``c_fine`` that of the finest on its own grid.
    """
    last = branch_count(tables, "z") - 1
    confirmatory = {
        "sci": sci_values(tables),
        "sci_edge": sci_edge_values(tables, min_depth_px=min_depth_px),
        "a_first_matched": concordance_values(tables, 0, response="z_matched"),
        "a_last": concordance_values(tables, last),
    }
    exploratory = {
        "sci_whole": sci_values(tables, response="q_whole"),
        "sci_same_class": sci_values(tables, same_class=True),
        "c_fine": concordance_values(tables, 0),
    }
    for low, high in GAP_BINS:
        name = f"sci_gap_{low:g}_{high:g}" if np.isfinite(high) else f"sci_gap_{low:g}_up"
        exploratory[name] = sci_values(tables, gap=(low, high))
    return confirmatory, exploratory


def compare_values(
    index: str,
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    family: Family = "exploratory",
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
    margin: float = MARGIN,
) -> Comparison:
    """Compare per-image values of two models on the images that both have.

    Args:
        index: Name of the index.
        a: ``image``, ``value``, ``pairs`` of model A; every image once, values finite.
        b: The same of model B.
        family: Which family the test belongs to.
        clusters: Cluster of each image (blocks of video frames).
        seed: Of bootstrap and signs.
        margin: Of the equivalence test.

    Returns:
        The comparison, ``p_adjusted`` still None; numbers that its conditions do not allow are
        None, with the reason beside them.
    """
    both = a.merge(b, on="image", suffixes=("_a", "_b"), validate="one_to_one")
    both = both.sort_values("image", ignore_index=True)
    images = both["image"].tolist()
    unpaired = len(a) + len(b) - 2 * len(both)
    difference = (both["value_b"] - both["value_a"]).to_numpy(dtype=np.float64)
    paired = pd.DataFrame({"image": images, "value": difference, "pairs": both["pairs_b"]})
    result = estimate(paired, clusters, seed)
    if not images:
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
        test=sign_flip(images, difference, clusters, seed),
        p_adjusted=None,
        d_z=d_z(difference),
        cliffs_delta_a=cliffs_delta(value_a),
        cliffs_delta_b=cliffs_delta(value_b),
        equivalence=equivalence(images, difference, clusters, seed, margin),
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
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
    min_depth_px: float = EDGE_DEPTH_PX,
    confirmatory: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]] | None = None,
) -> tuple[Comparison, ...]:
    """Compare two models, index by index, from their region tables.

    Args:
        tables_a: Region tables of model A.
        tables_b: Region tables of model B, of the same images.
        clusters: Cluster of each image (blocks of video frames).
        seed: Of bootstrap and signs.
        min_depth_px: For SCI_edge: the coarsest stride.
        confirmatory: More confirmatory indices, such as SCI of Shapley margins: per-image tables
            (``image``, ``value``, ``pairs``) of A and B by name.

    Returns:
        One comparison per index, confirmatory ones first, p values adjusted.
    """
    of_a, of_b = index_values(tables_a, min_depth_px), index_values(tables_b, min_depth_px)
    families: Sequence[Family] = ("confirmatory", "exploratory")
    pairs: list[tuple[str, Family, pd.DataFrame, pd.DataFrame]] = [
        (name, family, values_a[name], values_b[name])
        for family, values_a, values_b in zip(families, of_a, of_b, strict=True)
        for name in values_a
    ]
    for name, (a, b) in (confirmatory or {}).items():
        pairs.append((name, "confirmatory", a, b))
    pairs.sort(key=lambda pair: pair[1])
    return adjust(
        compare_values(name, a, b, family=family, clusters=clusters, seed=seed)
        for name, family, a, b in pairs
    )


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
