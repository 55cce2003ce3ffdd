"""``Report``: a finished analysis, its tables and estimates, and comparisons of its networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.data import class_list_from_json
from gsto_viz.errors import GstoVizError
from gsto_viz.report.examples import Example, load_example
from gsto_viz.report.folder import DOUBLED, EXAMPLES, RESIZED, WithNulls, clusters_of, open_finished
from gsto_viz.report.tables import read_table
from gsto_viz.stats.causal import sci_c_values, transfer_counts, transfer_values
from gsto_viz.stats.compare import (
    Comparison,
    Condition,
    Headline,
    SpecificationCurve,
    Verdict,
    adjust,
    compare_tables,
    not_compared,
    table_curve,
)
from gsto_viz.stats.inference import MIN_CLUSTERS, Estimate, Images
from gsto_viz.stats.nulls import Null
from gsto_viz.stats.pairs import edge_depth, unmeasured
from gsto_viz.stats.sizes import NO_OCTAVES, has_octaves
from gsto_viz.types import ClassList, Stride
from gsto_viz.words import INDICES


def without_gates(table: pd.DataFrame) -> pd.DataFrame:
    """Return a region table without the columns of gates."""
    gates = [name for name in table.columns if str(name).startswith(("g/", "g_"))]
    return table.drop(columns=gates)


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
        summary: Everything that was estimated (``summary.json``), tables as lists of rows.
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
        """Names of the checkpoints by key, and what the networks are beside their architecture."""
        return {key: _label(self.manifest["models"][key]) for key in self.keys}

    @property
    def strides(self) -> dict[str, tuple[Stride, ...]]:
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

    def has_null(self, name: str) -> bool:
        """Return whether one null model was asked for."""
        chosen = self.manifest["nulls"]
        return chosen is True or (bool(chosen) and name in chosen)

    def missing_nulls(self, key: str) -> dict[str, str]:
        """Return why null models of a network are missing, by their names."""
        return dict(self.model(key).get("missing_nulls", {}))

    def model(self, key: str) -> Mapping[str, Any]:
        """Return what the summary says of one model.

        Raises:
            GstoVizError: No such model.
        """
        self._check(key)
        found: Mapping[str, Any] = self.summary["models"][key]
        return found

    def _check(self, key: str) -> None:
        """Refuse the key of a model that was not analyzed."""
        if key not in self.keys:
            raise GstoVizError(f"no model '{key}' in {self.folder}; it has {', '.join(self.keys)}")

    def rows(self, name: str, key: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows of one model in a table, empty where the analysis has no such table.

        Columns of branches that only other models have are left out.

        Raises:
            GstoVizError: No such model, or the table is missing or damaged.
        """
        self._check(key)
        table = read_table(self.folder, name, columns, model=key)
        branches = len(self.strides[key])
        ends = [(str(column), str(column).rpartition("_")[2]) for column in table.columns]
        other = [column for column, end in ends if end.isdecimal() and int(end) >= branches]
        return table.drop(columns=other)

    def table(self, key: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the region table of one model, all columns or only some."""
        return self.rows("regions", key, columns)

    def response_table(self, key: str) -> pd.DataFrame:
        """Return the region table of one model without the columns of gates."""
        return without_gates(self.table(key))

    def random_tables(self, key: str) -> tuple[pd.DataFrame, ...]:
        """Return the region table of every random-weight draw; none without nulls."""
        rows = self.rows("random", key)
        if rows.empty:
            return ()
        return tuple(draw.reset_index(drop=True) for _, draw in rows.groupby("draw"))

    def stp_values(self, key: str) -> pd.DataFrame:
        """Return STP of each image at twice the size: ``image``, ``value``, ``pairs``."""
        rows = self.rows("transfer", key)
        return transfer_values(transfer_counts(rows[rows["kind"] == RESIZED]), DOUBLED)

    def index(self, key: str, name: str) -> Estimate:
        """Return one index of one model."""
        indices = self.model(key)["indices"]
        if name not in indices:
            raise GstoVizError(f"no index '{name}'; there are {', '.join(indices)}")
        found: Estimate = indices[name].estimate
        return found

    def nulls(self, key: str) -> dict[str, dict[str, Null]]:
        """Return the null models of one model: by index, then by null; empty without nulls."""
        return {index: dict(one.nulls) for index, one in self.model(key)["indices"].items()}

    def layout_adjusted(self, key: str, name: str) -> Estimate | None:
        """Return an index on layout-adjusted maps; None where there are none."""
        found = self.model(key)["layout_adjusted"]
        return found[name] if isinstance(found, dict) else None

    def causal(self, key: str) -> Mapping[str, Any] | None:
        """Return SCI_C and STP of one model; None when they were not computed."""
        found = self.model(key)["attribution"]
        return found if isinstance(found, dict) else None

    def without_sci_c(self, key: str) -> str:
        """Return why a network cannot have SCI_C; empty where it can."""
        return "" if has_octaves(self.strides[key]) else NO_OCTAVES

    def agreement(self, key: str) -> str | None:
        """Return in words whether SCI, SCI_C and STP agree; None when they were not computed."""
        found = self.causal(key)
        if found is None:
            return None
        doubled: WithNulls | None = found["stp"].get(f"{DOUBLED:+g}")
        stp = None if doubled is None else doubled.estimate
        return agreement(sides(self.index(key, "sci"), found["sci_c"].estimate, stp))

    def headline(self, key: str) -> Headline:
        """Return the indices of one model that are always shown together."""
        found = self.model(key)
        values = {name: self.index(key, name) for name in INDICES if name in found["indices"]}
        return Headline(values, found["core_pair_share"])

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
        own = self.strides[a], self.strides[b]
        more = {}
        missing = [key for key in (a, b) if self.causal(key) is None]
        lacking = [why for key in (a, b) if (why := self.without_sci_c(key))]
        if self.manifest["attribution"] and not missing:
            if not lacking:
                of_a, of_b = (sci_c_values(t, s) for t, s in zip(tables, own, strict=True))
                more["sci_c"] = (of_a, of_b)
            grown = [self.stp_values(key) for key in (a, b)]
            if set(grown[0]["image"]) & set(grown[1]["image"]):
                more["stp"] = (grown[0], grown[1])
        found = compare_tables(
            *tables,
            images=self.images,
            min_depth_px=max(map(edge_depth, own)),
            confirmatory=more,
            missing=unmeasured(own[0]) | unmeasured(own[1]),
        )
        if self.manifest["attribution"] and not missing and lacking:
            found = (*found, not_compared("sci_c", "confirmatory", lacking[0]))
        if self.manifest["attribution"] and missing:
            why = f"{missing[0]} has none ({self.model(missing[0])['attribution']})"
            rows = (not_compared(name, "confirmatory", why) for name in ("sci_c", "stp"))
            found = (*found, *rows)
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
        paths = sorted((self.folder / EXAMPLES).glob("*.npz"))
        return tuple(load_example(path) for path in paths)


def load_report(folder: str | Path) -> Report:
    """Open a finished analyze folder.

    Raises:
        GstoVizError: No such folder, not finished, damaged, or of another version.
    """
    folder = Path(folder)
    manifest, summary = open_finished(folder)
    images = read_table(folder, "images", ["image", "model", "group"])
    read = images[images["model"].notna()]
    return Report(
        folder=folder,
        manifest=manifest,
        summary=summary,
        classes=class_list_from_json(manifest["classes"]),
        clusters=clusters_of(read, manifest.get("block")),
    )


def _label(model: Mapping[str, Any]) -> str:
    """Return the name of a network, and where it does not say so itself that it is equalized."""
    name, word = str(model["name"]), str(model["network"]).partition(", ")[2]
    return f"{name}, {word}" if word and word not in name else name


def sides(sci: Estimate, sci_c: Estimate, stp: Estimate | None) -> dict[str, str]:
    """Return on which side of chance the interval of each of the three indices lies.

    Returns:
        By index ``aware``, ``reversed``, ``no evidence`` (the interval holds 0.5) or ``not
        judged``.
    """

    def side(one: Estimate | None, *, aware_below: bool) -> str:
        if one is None or one.low is None or one.high is None:
            return "not judged"
        if one.low <= 0.5 <= one.high:
            return "no evidence"
        return "aware" if (one.high < 0.5) == aware_below else "reversed"

    return {
        "SCI": side(sci, aware_below=True),
        "SCI_C": side(sci_c, aware_below=True),
        "STP": side(stp, aware_below=False),
    }


def agreement(found: Mapping[str, str]) -> str:
    """Return in words whether firing, evidence and intervention tell one story."""
    said = "; ".join(f"{name}: {side}" for name, side in found.items())
    judged = {side for side in found.values() if side != "not judged"}
    if len(judged) < len(set(found.values())) or not judged:
        return f"The three indices cannot all be judged ({said})."
    if len(judged) == 1:
        return f"The three indices agree ({said})."
    return f"The three indices disagree, and that is the finding ({said})."
