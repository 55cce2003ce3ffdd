"""``Report``: what an analyze folder says, as tables and estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.data.classes import class_list_from_json
from gsto_viz.errors import GstoVizError
from gsto_viz.report.causal import agreement, sides
from gsto_viz.report.chunks import read_table
from gsto_viz.report.clusters import clusters_of
from gsto_viz.report.examples import FOLDER, Example, load_example
from gsto_viz.report.folder import open_finished
from gsto_viz.report.null_summary import Null, nulls_beside
from gsto_viz.report.plain import as_estimate
from gsto_viz.report.scale_transfer import doubled_values
from gsto_viz.report.settings import DOUBLED
from gsto_viz.report.summary import without_gates
from gsto_viz.stats.causal import sci_c_values
from gsto_viz.stats.compare import Comparison, compare_tables
from gsto_viz.stats.inference import MIN_CLUSTERS, Estimate
from gsto_viz.stats.specification import SpecificationCurve, table_curve
from gsto_viz.stats.verdict import Condition, Headline, Verdict
from gsto_viz.types import ClassList


@dataclass(frozen=True)
class PairComparison:
    """B - A, index by index; ``comparison.sci`` is the paired difference of one of them.

    Attributes:
        a: Key of the first model.
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
    def data(self) -> str:
        """SPEC of the images."""
        return str(self.manifest["data"])

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the models, ``A`` first."""
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
        return read_table(self.folder / "regions.parquet", columns, model=key)

    def response_table(self, key: str) -> pd.DataFrame:
        """Return the region table of one model without the columns of gates."""
        return without_gates(self.table(key))

    def random_tables(self, key: str) -> tuple[pd.DataFrame, ...]:
        """Return the region table of every random-weight draw; none without nulls."""
        path = self.folder / "random.parquet"
        if not path.is_file():
            return ()
        rows = read_table(path, model=key)
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
        names = (
            "sci", "sci_edge", "c_fine", "c_coarse", "a_first_matched", "a_last",
            "sci_same_class", "sci_whole",
        )  # fmt: skip
        values = {name: self.index(key, name) for name in names}
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

    def compare(self, a: str = "A", b: str = "B") -> PairComparison:
        """Compare two models on the same images, B - A; computed once for each pair.

        Raises:
            GstoVizError: A model is missing, or both are the same.
        """
        if (a, b) not in self._compared:
            self._compared[a, b] = self._compare(a, b)
        return self._compared[a, b]

    def _compare(self, a: str, b: str) -> PairComparison:
        comparisons = self.differences(a, b)
        tables = [self.response_table(key) for key in (a, b)]
        curve = table_curve(*tables, clusters=self.clusters, seed=int(self.manifest["seed"]))
        return PairComparison(a, b, comparisons, curve)

    def differences(self, a: str = "A", b: str = "B") -> tuple[Comparison, ...]:
        """Compare two models index by index, without the specification curve of ``compare``.

        Raises:
            GstoVizError: A model is missing, or both are the same.
        """
        if a == b:
            raise GstoVizError(f"cannot compare {a} with itself; analyze two models")
        tables = [self.response_table(key) for key in (a, b)]
        depth = float(max(self.strides[a][-1], self.strides[b][-1]))
        more = {}
        if self.manifest["attribution"]:
            values = [sci_c_values(t, self.strides[k]) for t, k in zip(tables, (a, b), strict=True)]
            more["sci_c"] = (values[0], values[1])
            grown = [doubled_values(self.folder, key) for key in (a, b)]
            if set(grown[0]["image"]) & set(grown[1]["image"]):
                more["stp"] = (grown[0], grown[1])
        return compare_tables(
            *tables,
            clusters=self.clusters,
            seed=int(self.manifest["seed"]),
            min_depth_px=depth,
            confirmatory=more,
        )

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
