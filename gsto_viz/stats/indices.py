"""All pair indices of one image at once, from plain columns.

``sci`` and its companions read tables of many images; null models need the same numbers hundreds of
times per image, so here they come from one comparison of all pairs of the image's regions.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from gsto_viz.stats.sci import EDGE_DEPTH_PX, OCTAVE_GAP, TIE

INDICES = (
    "sci",
    "sci_edge",
    "c_fine",
    "c_coarse",
    "a_first_matched",
    "a_last",
    "sci_same_class",
    "sci_whole",
)
"""What is estimated of every model and of every null model."""

Columns = Mapping[str, npt.NDArray]
Value = tuple[float, int]
"""A value of one image, and the pairs behind it."""


def index_columns(branches: int) -> tuple[str, ...]:
    """Return the columns of the region table that :func:`image_indices` reads."""
    responses = ("z_0", "z_matched_0", f"z_{branches - 1}", "q", "q_whole", "q_core", "q_band")
    return ("area_px", "class_id", "qualifies", "max_distance_px", *dict.fromkeys(responses))


def image_indices(
    columns: Columns, branches: int, *, min_depth_px: float = EDGE_DEPTH_PX
) -> dict[str, Value]:
    """Compute every index of one image.

    Args:
        columns: Columns of the region table of one image (see :func:`index_columns`), (K,) each.
        branches: R.
        min_depth_px: For ``sci_edge``: the coarsest stride.

    Returns:
        By index, its value and its number of pairs (of regions for ``sci_edge``); an index without
        any pair is left out. The values are those of ``sci``, ``sci_edge``, ``c_fine``,
        ``c_coarse`` and ``concordance`` on this image.
    """
    kept = np.asarray(columns["qualifies"], dtype=bool)
    used = {name: np.asarray(columns[name])[kept] for name in index_columns(branches)}
    area = used["area_px"].astype(np.float64)
    larger = area[:, None] >= 4.0 ** OCTAVE_GAP[0] * area
    same = larger & (used["class_id"][:, None] == used["class_id"])
    last = f"z_{branches - 1}"
    found = {
        "sci": _reversed(_won(used["q"], larger)),
        "sci_edge": _edge(used, min_depth_px),
        "c_fine": _won(used["z_0"], larger),
        "c_coarse": _reversed(_won(used[last], larger)),
        "a_first_matched": _won(used["z_matched_0"], larger),
        "a_last": _won(used[last], larger),
        "sci_same_class": _reversed(_won(used["q"], same)),
        "sci_whole": _reversed(_won(used["q_whole"], larger)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _won(values: npt.NDArray, pairs: npt.NDArray[np.bool_]) -> Value | None:
    """Return P(larger has more) + 1/2 P(tie) over the pairs [larger, smaller], and their number."""
    known = ~np.isnan(values)
    counted = pairs & known[:, None] & known
    count = int(counted.sum())
    if count == 0:
        return None
    difference = (values[:, None] - values)[counted]
    won = int((difference > TIE).sum()) + 0.5 * int((np.abs(difference) <= TIE).sum())
    return won / count, count


def _reversed(value: Value | None) -> Value | None:
    return None if value is None else (1.0 - value[0], value[1])


def _edge(columns: Columns, min_depth_px: float) -> Value | None:
    """Return how often the core of a deep region is finer than its band."""
    # A region that is the whole image has no depth: NaN is not deep.
    deep = columns["max_distance_px"] >= min_depth_px
    difference = (columns["q_core"] - columns["q_band"])[deep]
    difference = difference[~np.isnan(difference)]
    if difference.size == 0:
        return None
    wrong = (difference < -TIE) + 0.5 * (np.abs(difference) <= TIE)
    return float(wrong.mean()), int(difference.size)
