"""From the tables of an analyze folder to the numbers that are reported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.report.causal import causal_summary
from gsto_viz.report.chunks import read_table
from gsto_viz.report.null_summary import Null, permuted_values, summarise_null
from gsto_viz.report.passes import OWN
from gsto_viz.report.plain import plain
from gsto_viz.report.settings import Settings
from gsto_viz.stats.boundary import BoundaryCounts
from gsto_viz.stats.boundary_pixels import DISTANCES, SIZES
from gsto_viz.stats.gate_sizes import gate_by_octave, gate_cells, variance_explained
from gsto_viz.stats.gate_values import gate_description
from gsto_viz.stats.gates import gate_edge, gate_pair_counts, gate_preference, gate_selectivity
from gsto_viz.stats.indices import INDICES
from gsto_viz.stats.inference import Estimate, estimate
from gsto_viz.stats.information import assignment
from gsto_viz.stats.outcome import outcome_by_size
from gsto_viz.stats.profile import distance_profile
from gsto_viz.stats.sci import sci_by_gap
from gsto_viz.stats.segmentation import SegmentationScores, scores_of
from gsto_viz.stats.sizes import response_by_octave
from gsto_viz.stats.trend import size_trend
from gsto_viz.stats.tuning import tuning
from gsto_viz.stats.verdict import core_pair_share, strict_verdict

COUNT_COLUMNS = (
    "hits",
    "false_positives",
    "boundary_px",
    "boundary_hits",
    "boundary_false_positives",
)


def model_summary(
    out: Path,
    key: str,
    settings: Settings,
    clusters: Mapping[str, str],
    classes: int,
    transmission: Mapping[str, float | None],
) -> dict[str, Any]:
    """Compute everything that is reported of one model.

    Args:
        out: The analyze folder with merged tables.
        key: Of the model.
        settings: Of the analysis.
        clusters: Cluster of each image.
        classes: Number of classes.
        transmission: By gate tap, how much of the transfer gets through.

    Returns:
        Plain values for ``summary.json``.
    """
    strides = tuple(settings.models[key]["strides"])
    table = read_table(out / "regions.parquet", model=key)
    responses = without_gates(table)
    values = read_table(out / "values.parquet", model=key)
    own = index_estimates(values[values["null"] == OWN], clusters, settings.seed)
    nulls = null_estimates(values, responses, settings, key, clusters)
    random = nulls.get("N3", {}).get("sci")
    verdict = strict_verdict(
        own["sci"],
        () if random is None else random.values,
        own["a_first_matched"],
        own["a_last"],
    )
    shared: dict[str, Any] = {"clusters": clusters, "seed": settings.seed}
    return {
        **settings.models[key],
        "indices": {
            name: {
                **plain(one),
                "nulls": {
                    null: found[name].to_json() for null, found in nulls.items() if name in found
                },
            }
            for name, one in own.items()
        },
        "layout_adjusted": layout_summary(out, key, clusters, settings),
        "attribution": causal_summary(out, key, responses, settings, clusters),
        "core_pair_share": plain(core_pair_share(responses)),
        "verdict": {
            "state": verdict.state,
            "words": verdict.words,
            "conditions": plain(list(verdict.conditions)),
        },
        "no_pairs": no_pairs(values, responses),
        "sci_by_gap": plain(sci_by_gap(responses, **shared)),
        "response_by_octave": plain(response_by_octave(responses, strides, **shared)),
        "tuning": plain(tuning(responses, strides, **shared)),
        "assignment": plain(assignment(responses, **shared)),
        "size_trend": plain(size_trend(responses, **shared)),
        "distance_profile": plain(profile_frame(out, key, len(strides), clusters, settings.seed)),
        "outcome": outcome_summary(table, clusters, settings.seed),
        "scores": score_summary(out, key, classes),
        "gates": gate_summary(out, key, table, clusters, settings.seed, transmission),
    }


def without_gates(table: pd.DataFrame) -> pd.DataFrame:
    """Return a region table without the columns of gates."""
    gates = [name for name in table.columns if str(name).startswith(("g/", "g_"))]
    return table.drop(columns=gates)


def index_estimates(
    values: pd.DataFrame, clusters: Mapping[str, str], seed: int
) -> dict[str, Estimate]:
    """Estimate every index from its per-image values; those without any are not estimated."""
    nothing = values.iloc[:0]
    groups = {str(index): rows for index, rows in values.groupby("index")}
    extra = sorted(set(groups) - set(INDICES))
    return {
        name: estimate(groups.get(name, nothing)[["image", "value", "pairs"]], clusters, seed)
        for name in (*INDICES, *extra)
    }


def null_estimates(
    values: pd.DataFrame,
    table: pd.DataFrame,
    settings: Settings,
    key: str,
    clusters: Mapping[str, str],
) -> dict[str, dict[str, Null]]:
    """Summarise every null model: by null, then by index; empty when none was computed."""
    if not settings.nulls:
        return {}
    strides = settings.models[key]["strides"]
    permuted = permuted_values(table, len(strides), float(strides[-1]), settings.seed)
    rows = pd.concat([values[values["null"] != OWN], permuted], ignore_index=True)
    return {
        str(null): summarise_null(of_null, clusters, settings.seed)
        for null, of_null in rows.groupby("null")
    }


def layout_summary(
    out: Path, key: str, clusters: Mapping[str, str], settings: Settings
) -> dict[str, Any] | str:
    """Estimate the indices on layout-adjusted maps; a sentence where there are none."""
    if not settings.nulls:
        return "not computed; it comes with the null models"
    values = read_table(out / "layout.parquet", model=key)
    if values.empty:
        return "not estimated: layout-adjusted maps need two or more images of one size"
    found = index_estimates(values, clusters, settings.seed)
    return {name: plain(one) for name, one in found.items()}


def no_pairs(values: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """List the images without a pair of regions an octave apart."""
    counted = set(values.loc[(values["null"] == OWN) & (values["index"] == "sci"), "image"])
    return sorted(set(table["image"]) - counted)


def profile_frame(
    out: Path, key: str, branches: int, clusters: Mapping[str, str], seed: int
) -> pd.DataFrame:
    """Estimate the distance profile from its stored cells."""
    rows = read_table(out / "profile.parquet", model=key)
    counts = []
    for image, cells in rows.groupby("image"):
        at = tuple(cells[name].to_numpy() for name in ("branch", "size_octave", "distance_octave"))
        sums = np.zeros((branches, SIZES, DISTANCES))
        pixels = np.zeros((branches, SIZES, DISTANCES), dtype=np.int64)
        sums[at], pixels[at] = cells["sum"], cells["pixels"]
        nothing: npt.NDArray[np.int64] = np.zeros((branches, 0), dtype=np.int64)
        counts.append(BoundaryCounts(str(image), nothing, nothing, sums, pixels))
    return distance_profile(counts, clusters=clusters, seed=seed)


def outcome_summary(
    table: pd.DataFrame, clusters: Mapping[str, str], seed: int
) -> list[dict[str, Any]] | None:
    """Average recall, IoU and boundary IoU by size; None without predictions."""
    if "hits" not in table:
        return None
    counts = table[["image", "region", "area_px", *COUNT_COLUMNS]]
    plain_table = table.drop(columns=["area_px", *COUNT_COLUMNS])
    frame = outcome_by_size(counts, plain_table, clusters=clusters, seed=seed)
    rows: list[dict[str, Any]] = plain(frame)
    return rows


def score_summary(out: Path, key: str, classes: int) -> dict[str, Any] | None:
    """Score the segmentation of all images from one confusion matrix; None without predictions."""
    path = out / "confusion.parquet"
    if not path.is_file():
        return None
    rows = read_table(path, model=key)
    if rows.empty:
        return None
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (rows["label"].to_numpy(), rows["predicted"].to_numpy()), rows["pixels"])
    scores: SegmentationScores = scores_of(matrix)
    values: dict[str, Any] = plain(scores)
    return values


def gate_summary(
    out: Path,
    key: str,
    table: pd.DataFrame,
    clusters: Mapping[str, str],
    seed: int,
    transmission: Mapping[str, float | None],
) -> dict[str, Any] | None:
    """Describe every gate and its preference for sizes; None without gates.

    Returns:
        ``selectivity`` (G over gates with a direction), ``selectivity_untied`` (the same without
        ties), ``self_edges`` (edges to themselves), and by tap ``gates``: edge, description of the
        gate's values, A_g, the variance that size explains, and the effective transmission;
        ``by_octave`` rows.
    """
    names = [str(name) for name in table.columns]
    taps = [name.removeprefix("g/") for name in names if name.startswith("g/")]
    taps = [tap for tap in taps if table[f"g/{tap}"].notna().any()]
    if not taps:
        return None
    shared: dict[str, Any] = {"clusters": clusters, "seed": seed}
    counts = gate_pair_counts(table, taps)
    sums = read_table(out / "gates.parquet", model=key)
    gates, by_octave = [], []
    for tap in taps:
        cells = gate_cells(table, tap)
        core = cells[cells["part"] == "core"]
        eta, partial = variance_explained(core)
        one = sums[sums["tap"] == tap]
        totals = one[["cells", "tied", "open", "g", "g_squared", "entropy"]].sum()
        of_tap = counts[counts["tap"] == tap]
        edge = gate_edge(tap)
        gates.append(
            {
                "tap": tap,
                "source": edge.source,
                "target": edge.target,
                **gate_description({str(k): float(v) for k, v in totals.items()}),
                "smallest": one["smallest"].min(),
                "largest": one["largest"].max(),
                "preference": gate_preference(of_tap, **shared),
                "preference_untied": gate_preference(of_tap, untied=True, **shared),
                "eta_squared": eta,
                "partial_eta_squared": partial,
                "transmission": transmission.get(tap),
            }
        )
        by_octave.append(gate_by_octave(cells, **shared).assign(tap=tap))
    found: dict[str, Any] = plain(
        {
            "selectivity": gate_selectivity(counts, **shared),
            "selectivity_untied": gate_selectivity(counts, untied=True, **shared),
            "selectivity_same_class": gate_selectivity(
                gate_pair_counts(table, taps, same_class=True), **shared
            ),
            "self_edges": gate_selectivity(counts, self_edges=True, **shared),
            "gates": gates,
            "by_octave": pd.concat(by_octave, ignore_index=True),
        }
    )
    return found
