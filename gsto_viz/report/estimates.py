"""From the tables of an analyze folder to everything that is estimated of one network."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.anatomy import edge_named
from gsto_viz.report.causal import UNEXPLAINED
from gsto_viz.report.folder import BLURRED, DOUBLED, PERMUTATIONS, RESIZED, WithNulls
from gsto_viz.report.summary import Report, without_gates
from gsto_viz.stats.atlas import atlas, enlargement, equalized
from gsto_viz.stats.boundary import DISTANCES, SIZES, BoundaryCounts
from gsto_viz.stats.causal import (
    scale_transfer,
    sci_c_values,
    transfer_beyond_blur,
    transfer_counts,
    transfer_slope,
    transfer_values,
)
from gsto_viz.stats.compare import core_pair_share, strict_verdict
from gsto_viz.stats.gates import (
    gate_by_octave,
    gate_cells,
    gate_description,
    gate_pair_counts,
    gate_preference,
    gate_selectivity,
    variance_explained,
)
from gsto_viz.stats.inference import Estimate, Images, estimate, not_estimated
from gsto_viz.stats.information import assignment
from gsto_viz.stats.listening import EXCESS, listening_means
from gsto_viz.stats.nulls import Null, permute_sizes
from gsto_viz.stats.outcome import SegmentationScores, outcome_by_size, scores_of
from gsto_viz.stats.pairs import index_columns, indices_at, sci_by_gap, unmeasured
from gsto_viz.stats.sizes import (
    distance_profile,
    response_by_octave,
    size_trend,
    tuning,
)
from gsto_viz.types import Stride
from gsto_viz.words import INDICES, OWN

COUNT_COLUMNS = (
    "hits",
    "false_positives",
    "boundary_px",
    "boundary_hits",
    "boundary_false_positives",
)
NOTHING = Null((), Estimate(None, None, None, 0, 0, "not estimated: no image has a pair"))
"""What a null model says when no region could be explained."""


def model_summary(
    report: Report, key: str, transmission: Mapping[str, float | None]
) -> dict[str, Any]:
    """Compute everything that is reported of one network.

    Args:
        report: The merged tables; its summary is not read.
        key: Of the network.
        transmission: By gate tap, how much of the transfer gets through.

    Returns:
        What ``summary.json`` holds of it.
    """
    strides, images = report.strides[key], report.images
    table = report.table(key)
    responses = without_gates(table)
    values = report.rows("values", key)
    own = index_estimates(values[values["null"] == OWN], images, strides)
    nulls = null_estimates(report, key, values, responses) if report.has_nulls else {}
    random = nulls["N3"]["sci"].values if "sci" in nulls.get("N3", {}) else ()
    verdict = strict_verdict(own["sci"], random, own["a_first_matched"], own["a_last"])
    found = {
        **report.manifest["models"][key],
        "indices": {
            name: WithNulls(one, {null: of[name] for null, of in nulls.items() if name in of})
            for name, one in own.items()
        },
        "layout_adjusted": layout_summary(report, key),
        "attribution": causal_summary(report, key, responses),
        "core_pair_share": core_pair_share(responses),
        "verdict": {
            "state": verdict.state,
            "words": verdict.words,
            "conditions": verdict.conditions,
        },
        "no_pairs": no_pairs(values, responses),
        "sci_by_gap": sci_by_gap(responses, images=images),
        "response_by_octave": response_by_octave(responses, strides, images=images),
        "tuning": tuning(responses, strides, images=images),
        "assignment": assignment(responses, images=images),
        "size_trend": size_trend(responses, images=images),
        "distance_profile": profile_frame(report, key),
        "outcome": outcome_summary(table, images),
        "scores": score_summary(report, key),
        "gates": gate_summary(report, key, table, transmission),
    }
    if report.manifest["atlas"]:
        found |= feature_summary(report, key)
    heard = report.rows("listening", key)
    return found if heard.empty else found | {"listening": listening_summary(heard, images)}


def feature_summary(report: Report, key: str) -> dict[str, Any]:
    """Describe the features of the branches, and what equalizers do to them where there are any."""
    images = report.images
    enlarged = enlargement(report.rows("enlarged", key), images=images)
    passed = report.rows("equalizers", key)
    found = {
        "atlas": atlas(report.rows("atlas", key), images=images),
        "enlargement": enlarged.assign(stride=[str(one) for one in report.strides[key]]),
    }
    if not passed.empty:
        found["equalizers"] = equalized(passed, images=images)
    return found


def index_estimates(
    values: pd.DataFrame, images: Images, strides: Sequence[Stride] = ()
) -> dict[str, Estimate]:
    """Estimate every index from its per-image values; those without any are not estimated.

    Args:
        values: ``index``, ``image``, ``value``, ``pairs``.
        images: Which images are independent, and the seed.
        strides: Of the branches: they say why an index cannot be.
    """
    nothing = values.iloc[:0]
    groups = {str(index): rows for index, rows in values.groupby("index")}
    extra = sorted(set(groups) - set(INDICES))
    missing = unmeasured(strides) if strides else {}
    return {
        name: not_estimated(missing[name])
        if name in missing
        else estimate(groups.get(name, nothing)[["image", "value", "pairs"]], images)
        for name in (*INDICES, *extra)
    }


def null_estimates(
    report: Report, key: str, values: pd.DataFrame, table: pd.DataFrame
) -> dict[str, dict[str, Null]]:
    """Summarise every null model: by null, then by index.

    Args:
        report: The analysis.
        key: Of the network.
        values: Its rows of the table ``values``.
        table: Its region table.
    """
    chosen = [name for name in ("N4", "N4c") if report.has_null(name)]
    permuted = permuted_values(table, report.strides[key], report.images.seed, chosen)
    rows = pd.concat([values[values["null"] != OWN], permuted], ignore_index=True)
    return {
        str(null): summarise_null(of_null, report.images) for null, of_null in rows.groupby("null")
    }


def summarise_null(values: pd.DataFrame, images: Images) -> dict[str, Null]:
    """Summarise the rows of one model and null model.

    Args:
        values: ``draw``, ``image``, ``index``, ``value``, ``pairs``.

    Returns:
        By index.
    """
    found = {}
    for index, rows in values.groupby("index"):
        draws = rows.groupby("draw")["value"].mean()
        by_image = rows.groupby("image").agg(value=("value", "mean"), pairs=("pairs", "sum"))
        mean = estimate(by_image.reset_index(), images)
        found[str(index)] = Null(tuple(draws.tolist()), mean)
    return found


def permuted_values(
    table: pd.DataFrame, strides: Sequence[Stride], seed: int, nulls: Sequence[str]
) -> pd.DataFrame:
    """Compute the indices of every image with permuted sizes (N4, and N4c within classes).

    Returns:
        ``null``, ``draw``, ``image``, ``index``, ``value``, ``pairs``.
    """
    rows = []
    names = list(index_columns(len(strides)))
    for null in nulls:
        for draw in range(PERMUTATIONS):
            permuted = permute_sizes(table, within_class=null == "N4c", seed=seed, draw=draw)
            for image, group in permuted.groupby("image"):
                columns = {name: group[name].to_numpy() for name in names}
                indices = indices_at(columns, strides)
                rows += [
                    (null, draw, image, index, value, pairs)
                    for index, (value, pairs) in indices.items()
                    if INDICES[index].permuted
                ]
    frame = pd.DataFrame(rows, columns=["null", "draw", "image", "index", "value", "pairs"])
    return frame.astype({"value": np.float64})


def layout_summary(report: Report, key: str) -> dict[str, Estimate] | str:
    """Estimate the indices on layout-adjusted maps; a sentence where there are none."""
    if not report.has_nulls:
        return "not computed; it comes with the null models"
    values = report.rows("layout", key)
    if values.empty:
        return "not estimated: layout-adjusted maps need two or more images of one size"
    return index_estimates(values, report.images, report.strides[key])


def no_pairs(values: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """List the images without a pair of regions an octave apart."""
    counted = set(values.loc[(values["null"] == OWN) & (values["index"] == "sci"), "image"])
    return sorted(set(table["image"]) - counted)


def profile_frame(report: Report, key: str) -> pd.DataFrame:
    """Estimate the distance profile from its stored cells."""
    branches = len(report.strides[key])
    nothing = np.zeros((branches, 0), dtype=np.int64)
    counts = []
    for image, cells in report.rows("profile", key).groupby("image"):
        at = tuple(cells[name].to_numpy() for name in ("branch", "size_octave", "distance_octave"))
        sums = np.zeros((branches, SIZES, DISTANCES))
        pixels = np.zeros((branches, SIZES, DISTANCES), dtype=np.int64)
        sums[at], pixels[at] = cells["sum"], cells["pixels"]
        counts.append(BoundaryCounts(str(image), nothing, nothing, sums, pixels))
    return distance_profile(counts, images=report.images)


def outcome_summary(table: pd.DataFrame, images: Images) -> pd.DataFrame | None:
    """Average recall, IoU and boundary IoU by size; None without predictions."""
    if "hits" not in table or table["hits"].isna().all():
        return None
    counts = table[["image", "region", "area_px", *COUNT_COLUMNS]]
    others = table.drop(columns=["area_px", *COUNT_COLUMNS])
    return outcome_by_size(counts, others, images=images)


def score_summary(report: Report, key: str) -> SegmentationScores | None:
    """Score the segmentation of all images from one confusion matrix; None without predictions."""
    rows = report.rows("confusion", key)
    if rows.empty:
        return None
    matrix = np.zeros((len(report.classes), len(report.classes)), dtype=np.int64)
    np.add.at(matrix, (rows["label"].to_numpy(), rows["predicted"].to_numpy()), rows["pixels"])
    return scores_of(matrix)


def gate_summary(
    report: Report,
    key: str,
    table: pd.DataFrame,
    transmission: Mapping[str, float | None],
) -> dict[str, Any] | None:
    """Describe every gate and its preference for sizes; None without gates.

    Returns:
        ``selectivity`` (G over gates with a direction), ``selectivity_untied`` (the same without
        ties), ``self_edges`` (edges to themselves), and by tap ``gates``: edge, description of the
        gate's values, A_g, the variance that size explains, and the effective transmission;
        ``by_octave`` rows.
    """
    measured = [str(name) for name in table.columns[table.notna().any()]]
    taps = [name.removeprefix("g/") for name in measured if name.startswith("g/")]
    if not taps:
        return None
    counts = gate_pair_counts(table, taps)
    sums, images = report.rows("gates", key), report.images
    gates, by_octave = [], []
    for tap in taps:
        cells = gate_cells(table, tap)
        core = cells[cells["part"] == "core"]
        eta, partial = variance_explained(core)
        one = sums[sums["tap"] == tap]
        totals = one[["cells", "tied", "open", "g", "g_squared", "entropy"]].sum()
        of_tap = counts[counts["tap"] == tap]
        edge = edge_named(tap)
        gates.append(
            {
                "tap": tap,
                "source": edge.source,
                "target": edge.target,
                **gate_description({str(k): float(v) for k, v in totals.items()}),
                "smallest": one["smallest"].min(),
                "largest": one["largest"].max(),
                "preference": gate_preference(of_tap, images=images),
                "preference_untied": gate_preference(of_tap, untied=True, images=images),
                "eta_squared": eta,
                "partial_eta_squared": partial,
                "transmission": transmission.get(tap),
            }
        )
        by_octave.append(gate_by_octave(cells, images=images).assign(tap=tap))
    alike = gate_pair_counts(table, taps, same_class=True)
    return {
        "selectivity": gate_selectivity(counts, images=images),
        "selectivity_untied": gate_selectivity(counts, untied=True, images=images),
        "selectivity_same_class": gate_selectivity(alike, images=images),
        "self_edges": gate_selectivity(counts, self_edges=True, images=images),
        "gates": gates,
        "by_octave": pd.concat(by_octave, ignore_index=True),
    }


def listening_summary(rows: pd.DataFrame, images: Images) -> dict[str, pd.DataFrame]:
    """Average what regions listen to: all together, by size and by class.

    Null models have the share that leaves a region beyond that of equal weights, all together and
    by size: near cells lie in the region wherever it is, so that part of it is geometry.

    Args:
        rows: Of one network in the table ``listening``.
        images: Which images are independent, and the seed.
    """
    rows = rows[rows["qualifies"]]
    rows = rows.assign(octave=np.floor(rows["size_octave"]).astype(np.int64))
    own, null = rows[rows["null"] == OWN], rows[rows["null"] != OWN]
    means = partial(listening_means, images=images)
    excess = partial(means, null, measures=(EXCESS["outside"],))
    return {
        "overall": pd.concat([means(own), excess()], ignore_index=True),
        "by_octave": pd.concat([means(own, ["octave"]), excess(["octave"])], ignore_index=True),
        "by_class": means(own, ["class_id"]),
    }


def causal_summary(report: Report, key: str, table: pd.DataFrame) -> dict[str, Any] | str:
    """Estimate SCI_C and STP of one network; a sentence where they were not asked for."""
    if not report.manifest["attribution"]:
        return "not computed; gsto-viz analyze --attribution computes it"
    if report.manifest["models"][key].get("unexplained"):
        return f"not estimated: {UNEXPLAINED}"
    strides, images = report.strides[key], report.images
    if lacks := report.without_sci_c(key):
        missing = not_estimated(lacks)
        return {
            "sci_c": WithNulls(missing, {}),
            "sci_c_shares": missing,
            **transfer_summary(report.rows("transfer", key), images),
        }
    own = estimate(sci_c_values(table, strides), images)
    return {
        "sci_c": WithNulls(own, _sci_c_nulls(report, key, table) if report.has_nulls else {}),
        "sci_c_shares": estimate(sci_c_values(table, strides, response="phi"), images),
        **transfer_summary(report.rows("transfer", key), images),
    }


def _sci_c_nulls(report: Report, key: str, table: pd.DataFrame) -> dict[str, Null]:
    """Give SCI_C with moved annotation (N1, N2), random weights (N3) and permuted sizes (N4)."""
    tables = {}
    moved = report.rows("moved", key)
    if not moved.empty:
        for null, rows in moved.groupby("null"):
            tables[str(null)] = [draw for _, draw in rows.groupby("draw")]
    if drawn := list(report.random_tables(key)):
        tables["N3"] = drawn
    seed = report.images.seed
    if report.has_null("N4"):
        tables["N4"] = [permute_sizes(table, seed=seed, draw=draw) for draw in range(PERMUTATIONS)]
    found: dict[str, Null] = {}
    for name, draws in tables.items():
        values = [
            sci_c_values(one, report.strides[key]).assign(draw=k) for k, one in enumerate(draws)
        ]
        rows = pd.concat(values, ignore_index=True).assign(index="sci_c")
        found[name] = summarise_null(rows, report.images).get("sci_c", NOTHING)
    return found


def transfer_summary(rows: pd.DataFrame, images: Images) -> dict[str, Any]:
    """Estimate STP at every size with its null models, beyond blur, and its slope.

    Args:
        rows: Of one network in the table ``transfer``.
    """
    kinds = {str(kind): one for kind, one in rows.groupby("kind")}
    resized, blurred = (kinds.pop(kind, rows.iloc[:0]) for kind in (RESIZED, BLURRED))
    counts, control = transfer_counts(resized), transfer_counts(blurred)
    nulls = {}
    for name, one in kinds.items():
        values = [
            transfer_values(transfer_counts(drawn), DOUBLED).assign(draw=draw, index="stp")
            for draw, drawn in one.groupby("draw")
        ]
        nulls[name] = summarise_null(pd.concat(values, ignore_index=True), images)["stp"]
    stp = {m: scale_transfer(counts, m, images=images) for m in sorted(set(counts["m"]))}
    return {
        "stp": {f"{m:+g}": WithNulls(one, nulls if m == DOUBLED else {}) for m, one in stp.items()},
        "stp_beyond_blur": {
            f"{m:+g}": transfer_beyond_blur(counts, control, m, images=images) for m in stp
        },
        "stp_slope": transfer_slope(resized, images=images),
    }
