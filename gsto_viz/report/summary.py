"""From the tables of an analyze folder to ``Report`` and ``comparison.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.anatomy import edge_named
from gsto_viz.data import class_list_from_json
from gsto_viz.errors import GstoVizError
from gsto_viz.report.causal import (
    agreement,
    causal_summary,
    doubled_values,
    null_json,
    nulls_beside,
    permuted_values,
    sides,
    summarise_null,
)
from gsto_viz.report.examples import FOLDER, Example, load_example
from gsto_viz.report.folder import (
    DOUBLED,
    Settings,
    as_estimate,
    clusters_of,
    open_finished,
    own_branches,
    plain,
    read_table,
)
from gsto_viz.report.passes import OWN
from gsto_viz.stats.atlas import atlas
from gsto_viz.stats.boundary import DISTANCES, SIZES, BoundaryCounts
from gsto_viz.stats.causal import sci_c_values
from gsto_viz.stats.compare import (
    Comparison,
    Condition,
    Headline,
    SpecificationCurve,
    Verdict,
    adjust,
    compare_tables,
    compare_values,
    core_pair_share,
    strict_verdict,
    table_curve,
)
from gsto_viz.stats.gates import (
    gate_by_octave,
    gate_cells,
    gate_description,
    gate_pair_counts,
    gate_preference,
    gate_selectivity,
    variance_explained,
)
from gsto_viz.stats.inference import MIN_CLUSTERS, Estimate, Images, estimate
from gsto_viz.stats.information import assignment
from gsto_viz.stats.nulls import Null
from gsto_viz.stats.outcome import SegmentationScores, outcome_by_size, scores_of
from gsto_viz.stats.pairs import INDICES, sci_by_gap
from gsto_viz.stats.sizes import distance_profile, response_by_octave, size_trend, tuning
from gsto_viz.types import ClassList

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
    images: Images,
    classes: int,
    transmission: Mapping[str, float | None],
) -> dict[str, Any]:
    """Compute everything that is reported of one model.

    Args:
        out: The analyze folder with merged tables.
        key: Of the model.
        settings: Of the analysis.
        images: Which images are independent, and the seed.
        classes: Number of classes.
        transmission: By gate tap, how much of the transfer gets through.

    Returns:
        Plain values for ``summary.json``.
    """
    strides = tuple(settings.models[key]["strides"])
    table = own_branches(read_table(out / "regions.parquet", model=key), len(strides))
    responses = without_gates(table)
    values = read_table(out / "values.parquet", model=key)
    own = index_estimates(values[values["null"] == OWN], images)
    nulls = null_estimates(values, responses, settings, key, images)
    random = nulls.get("N3", {}).get("sci")
    verdict = strict_verdict(
        own["sci"],
        () if random is None else random.values,
        own["a_first_matched"],
        own["a_last"],
    )
    return {
        **settings.models[key],
        "indices": {
            name: {
                **plain(one),
                "nulls": {
                    null: null_json(found[name]) for null, found in nulls.items() if name in found
                },
            }
            for name, one in own.items()
        },
        "layout_adjusted": layout_summary(out, key, images, settings),
        "attribution": causal_summary(out, key, responses, settings, images),
        "core_pair_share": plain(core_pair_share(responses)),
        "verdict": {
            "state": verdict.state,
            "words": verdict.words,
            "conditions": plain(list(verdict.conditions)),
        },
        "no_pairs": no_pairs(values, responses),
        "sci_by_gap": plain(sci_by_gap(responses, images=images)),
        "response_by_octave": plain(response_by_octave(responses, strides, images=images)),
        "tuning": plain(tuning(responses, strides, images=images)),
        "assignment": plain(assignment(responses, images=images)),
        "size_trend": plain(size_trend(responses, images=images)),
        "distance_profile": plain(profile_frame(out, key, len(strides), images)),
        "outcome": outcome_summary(table, images),
        "scores": score_summary(out, key, classes),
        "gates": gate_summary(out, key, table, images, transmission),
        **(atlas_summary(out, key, images) if settings.atlas else {}),
    }


def without_gates(table: pd.DataFrame) -> pd.DataFrame:
    """Return a region table without the columns of gates."""
    gates = [name for name in table.columns if str(name).startswith(("g/", "g_"))]
    return table.drop(columns=gates)


def index_estimates(values: pd.DataFrame, images: Images) -> dict[str, Estimate]:
    """Estimate every index from its per-image values; those without any are not estimated."""
    nothing = values.iloc[:0]
    groups = {str(index): rows for index, rows in values.groupby("index")}
    extra = sorted(set(groups) - set(INDICES))
    return {
        name: estimate(groups.get(name, nothing)[["image", "value", "pairs"]], images)
        for name in (*INDICES, *extra)
    }


def null_estimates(
    values: pd.DataFrame,
    table: pd.DataFrame,
    settings: Settings,
    key: str,
    images: Images,
) -> dict[str, dict[str, Null]]:
    """Summarise every null model: by null, then by index; empty when none was computed."""
    if not settings.nulls:
        return {}
    strides = settings.models[key]["strides"]
    permuted = permuted_values(table, len(strides), float(strides[-1]), settings.seed)
    rows = pd.concat([values[values["null"] != OWN], permuted], ignore_index=True)
    return {str(null): summarise_null(of_null, images) for null, of_null in rows.groupby("null")}


def layout_summary(out: Path, key: str, images: Images, settings: Settings) -> dict[str, Any] | str:
    """Estimate the indices on layout-adjusted maps; a sentence where there are none."""
    if not settings.nulls:
        return "not computed; it comes with the null models"
    values = read_table(out / "layout.parquet", model=key)
    if values.empty:
        return "not estimated: layout-adjusted maps need two or more images of one size"
    found = index_estimates(values, images)
    return {name: plain(one) for name, one in found.items()}


def no_pairs(values: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """List the images without a pair of regions an octave apart."""
    counted = set(values.loc[(values["null"] == OWN) & (values["index"] == "sci"), "image"])
    return sorted(set(table["image"]) - counted)


def profile_frame(out: Path, key: str, branches: int, images: Images) -> pd.DataFrame:
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
    return distance_profile(counts, images=images)


def outcome_summary(table: pd.DataFrame, images: Images) -> list[dict[str, Any]] | None:
    """Average recall, IoU and boundary IoU by size; None without predictions."""
    if "hits" not in table:
        return None
    counts = table[["image", "region", "area_px", *COUNT_COLUMNS]]
    plain_table = table.drop(columns=["area_px", *COUNT_COLUMNS])
    frame = outcome_by_size(counts, plain_table, images=images)
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
    images: Images,
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
    found: dict[str, Any] = plain(
        {
            "selectivity": gate_selectivity(counts, images=images),
            "selectivity_untied": gate_selectivity(counts, untied=True, images=images),
            "selectivity_same_class": gate_selectivity(
                gate_pair_counts(table, taps, same_class=True), images=images
            ),
            "self_edges": gate_selectivity(counts, self_edges=True, images=images),
            "gates": gates,
            "by_octave": pd.concat(by_octave, ignore_index=True),
        }
    )
    return found


def atlas_summary(out: Path, key: str, images: Images) -> dict[str, Any]:
    """Describe the features of one model."""
    return {"atlas": plain(atlas(read_table(out / "atlas.parquet", model=key), images=images))}


@dataclass(frozen=True)
class PairComparison:
    """b - a, index by index; ``comparison.sci`` is the paired difference of one of them.

    Attributes:
        a: Key of the first model, by custom the reference.
        b: Key of the second.
        comparisons: One per index, confirmatory ones first, p values adjusted within families.
        curve: Does the difference of SCI keep its sign under other reasonable choices?
    """

    a: str
    b: str
    comparisons: tuple[Comparison, ...]
    curve: SpecificationCurve

    def __getattr__(self, name: str) -> Estimate:
        for one in self.__dict__.get("comparisons", ()):
            if one.index == name:
                difference: Estimate = one.difference
                return difference
        raise AttributeError(f"no index '{name}' was compared")


@dataclass(frozen=True, eq=False)
class Report:
    """A finished analysis.

    Attributes:
        folder: Where it lies.
        manifest: What it depends on.
        summary: Everything that was estimated, as plain values (``summary.json``).
        classes: Of the data.
        clusters: Cluster of each image.
    """

    folder: Path
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    classes: ClassList
    clusters: Mapping[str, str] = field(repr=False)
    _compared: dict[tuple[str, str], PairComparison] = field(default_factory=dict, repr=False)

    @property
    def images(self) -> Images:
        """Which images are independent, and the seed."""
        return Images(self.clusters, int(self.manifest["seed"]))

    @property
    def data(self) -> str:
        """SPEC of the images."""
        return str(self.manifest["data"])

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the models, the reference first."""
        return tuple(self.manifest["models"])

    @property
    def names(self) -> dict[str, str]:
        """Names of the checkpoints by key."""
        return {key: str(self.manifest["models"][key]["name"]) for key in self.keys}

    @property
    def strides(self) -> dict[str, tuple[int, ...]]:
        """Strides of the branches by key."""
        return {key: tuple(self.manifest["models"][key]["strides"]) for key in self.keys}

    @property
    def skipped(self) -> tuple[dict[str, str], ...]:
        """Images that could not be read: ``image`` and ``reason``."""
        return tuple(self.manifest["skipped"])

    @property
    def has_nulls(self) -> bool:
        """Whether null models were computed."""
        return bool(self.manifest["nulls"])

    def model(self, key: str) -> Mapping[str, Any]:
        """Return what the summary says of one model.

        Raises:
            GstoVizError: No such model.
        """
        if key not in self.summary["models"]:
            raise GstoVizError(f"no model '{key}' in {self.folder}; it has {', '.join(self.keys)}")
        found: Mapping[str, Any] = self.summary["models"][key]
        return found

    def table(self, key: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the region table of one model, all columns or only some."""
        self.model(key)
        table = read_table(self.folder / "regions.parquet", columns, model=key)
        return own_branches(table, len(self.strides[key]))

    def response_table(self, key: str) -> pd.DataFrame:
        """Return the region table of one model without the columns of gates."""
        return without_gates(self.table(key))

    def random_tables(self, key: str) -> tuple[pd.DataFrame, ...]:
        """Return the region table of every random-weight draw; none without nulls."""
        path = self.folder / "random.parquet"
        if not path.is_file():
            return ()
        rows = read_table(path, model=key)
        rows = own_branches(rows, len(self.strides[key]))
        return tuple(draw.reset_index(drop=True) for _, draw in rows.groupby("draw"))

    def index(self, key: str, name: str) -> Estimate:
        """Return one index of one model."""
        indices = self.model(key)["indices"]
        if name not in indices:
            raise GstoVizError(f"no index '{name}'; there are {', '.join(indices)}")
        return as_estimate(indices[name])

    def nulls(self, key: str) -> dict[str, dict[str, Null]]:
        """Return the null models of one model: by index, then by null; empty without nulls."""
        return {index: nulls_beside(values) for index, values in self.model(key)["indices"].items()}

    def layout_adjusted(self, key: str, name: str) -> Estimate | None:
        """Return an index on layout-adjusted maps; None where there are none."""
        found = self.model(key)["layout_adjusted"]
        return as_estimate(found[name]) if isinstance(found, dict) else None

    def causal(self, key: str) -> Mapping[str, Any] | None:
        """Return SCI_C and STP of one model; None when they were not computed."""
        found = self.model(key)["attribution"]
        return found if isinstance(found, dict) else None

    def agreement(self, key: str) -> str | None:
        """Say whether SCI, SCI_C and STP of one model agree; None when they were not computed."""
        found = self.causal(key)
        if found is None:
            return None
        doubled = found["stp"].get(f"{DOUBLED:+g}")
        stp = None if doubled is None else as_estimate(doubled)
        return agreement(sides(self.index(key, "sci"), as_estimate(found["sci_c"]), stp))

    def headline(self, key: str) -> Headline:
        """Return the indices of one model that are always shown together."""
        values = {name: self.index(key, name) for name in INDICES}
        return Headline(**values, core_pair_share=self.model(key)["core_pair_share"])

    def verdict(self, key: str) -> Verdict:
        """Return the strict verdict on one model."""
        conditions = [Condition(**one) for one in self.model(key)["verdict"]["conditions"]]
        return Verdict(*conditions)

    def frame(self, key: str, name: str) -> pd.DataFrame:
        """Return one of the tables of a model's summary, e.g. ``response_by_octave``."""
        frame = pd.DataFrame(self.model(key)[name])
        if "gap_high" in frame:
            # JSON has no infinity: an open end is null there.
            frame["gap_high"] = frame["gap_high"].astype("float64").fillna(np.inf)
        return frame

    def compare(self, a: str | None = None, b: str | None = None) -> PairComparison:
        """Compare two models on the same images, b - a; computed once for each pair.

        Args:
            a: Key of a model; None: the reference.
            b: Key of another; None: the first after the reference.

        Raises:
            GstoVizError: A model is missing, or both are the same.
        """
        a, b = self._pair(a, b)
        if (a, b) not in self._compared:
            comparisons = self.differences(a, b)
            tables = [self.response_table(key) for key in (a, b)]
            curve = table_curve(*tables, images=self.images)
            self._compared[a, b] = PairComparison(a, b, comparisons, curve)
        return self._compared[a, b]

    def comparisons(self) -> tuple[PairComparison, ...]:
        """Compare every model with the reference; p values are adjusted over all of them."""
        found = [self.compare(self.keys[0], key) for key in self.keys[1:]]
        adjusted = iter(adjust(one for pair in found for one in pair.comparisons))
        return tuple(
            replace(pair, comparisons=tuple(next(adjusted) for _ in pair.comparisons))
            for pair in found
        )

    def _pair(self, a: str | None, b: str | None) -> tuple[str, str]:
        """Fill in what was not named."""
        if b is None and len(self.keys) < 2:
            raise GstoVizError(f"{self.folder} has one model; analyze two or more to compare them")
        return a or self.keys[0], b or self.keys[1]

    def differences(self, a: str | None = None, b: str | None = None) -> tuple[Comparison, ...]:
        """Compare two models index by index, without the specification curve of ``compare``.

        Raises:
            GstoVizError: A model is missing, or both are the same.
        """
        a, b = self._pair(a, b)
        if a == b:
            raise GstoVizError(f"cannot compare {a} with itself; analyze two models")
        tables = [self.response_table(key) for key in (a, b)]
        depth = float(max(self.strides[a][-1], self.strides[b][-1]))
        more = {}
        missing = [key for key in (a, b) if self.causal(key) is None]
        if self.manifest["attribution"] and not missing:
            values = [sci_c_values(t, self.strides[k]) for t, k in zip(tables, (a, b), strict=True)]
            more["sci_c"] = (values[0], values[1])
            grown = [doubled_values(self.folder, key) for key in (a, b)]
            if set(grown[0]["image"]) & set(grown[1]["image"]):
                more["stp"] = (grown[0], grown[1])
        found = compare_tables(
            *tables,
            images=self.images,
            min_depth_px=depth,
            confirmatory=more,
        )
        if self.manifest["attribution"] and missing:
            why = f"not estimated: {missing[0]} has none ({self.model(missing[0])['attribution']})"
            found = (*found, *(_not_compared(name, why) for name in ("sci_c", "stp")))
        return tuple(sorted(found, key=lambda one: one.family))

    @property
    def independence(self) -> str:
        """What counts as independent, in words: ``17 of them independent``."""
        count, block = len(set(self.clusters.values())), self.manifest.get("block")
        if block is None:
            hint = ""
            if count < MIN_CLUSTERS <= len(self.clusters):
                hint = f"; intervals need {MIN_CLUSTERS}: more images, or shorter blocks (--block)"
            return f"{count} of them independent{hint}"
        return f"in {count} blocks of {block} consecutive ones (--block) that count as independent"

    @property
    def examples(self) -> tuple[Example, ...]:
        """The images that are kept with all their maps, the example first."""
        paths = sorted((self.folder / FOLDER).glob("*.npz"))
        return tuple(load_example(path) for path in paths)


def _not_compared(index: str, reason: str) -> Comparison:
    """Return a row of an index that is not defined for both models."""
    nothing = pd.DataFrame({"image": [], "value": [], "pairs": []})
    one = compare_values(index, nothing, nothing, family="confirmatory")
    return replace(one, difference=Estimate(None, None, None, 0, 0, reason))


def load_report(folder: str | Path) -> Report:
    """Open a finished analyze folder.

    Raises:
        GstoVizError: No such folder, not finished, damaged, or of another version.
    """
    folder = Path(folder)
    manifest, summary = open_finished(folder)
    images = read_table(folder / "images.parquet", ["image", "model", "group"])
    read = images[images["model"].notna()]
    return Report(
        folder=folder,
        manifest=manifest,
        summary=summary,
        classes=class_list_from_json(manifest["classes"]),
        clusters=clusters_of(read, manifest.get("block")),
    )
