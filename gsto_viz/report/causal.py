"""Who carries the evidence, per region: Shapley values of the branches, and scale transfer.

SCI says which branch *fires* for which object. SCI_C asks which branch the decision *rests on*: the
same order of pairs on exact Shapley values of each region's margin. STP asks what happens when the
same object is made larger: is it then answered by coarser branches?
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gsto_viz.attribution import head_pass, shapley_tables
from gsto_viz.errors import GstoVizError
from gsto_viz.models.hrnet import HRNet
from gsto_viz.regions.prepared import PreparedRegions
from gsto_viz.report.chunks import read_table
from gsto_viz.report.measure import Arrays
from gsto_viz.report.null_summary import Null, summarise_null
from gsto_viz.report.plain import plain
from gsto_viz.report.scale_transfer import transfer_summary
from gsto_viz.report.settings import PERMUTATIONS, Settings
from gsto_viz.report.subjects import Subject
from gsto_viz.stats.causal import sci_c_values
from gsto_viz.stats.inference import Estimate, estimate
from gsto_viz.stats.nulls import permute_sizes
from gsto_viz.types import Sample

NOTHING = Null((), Estimate(None, None, None, 0, 0, "not estimated: no image has a pair"))
"""What a null model says when no region could be explained."""


def check_explainable(subject: Subject) -> None:
    """Refuse to explain a network whose head cannot be split by branch.

    Raises:
        GstoVizError: It is no HRNetV2 or GSTO-HRNet, or is not read after its last fusion.
    """
    default = tuple(f"stage4.branch{r}" for r in range(4))
    if not isinstance(subject.model, HRNet) or subject.site.branches != default:
        raise GstoVizError(
            f"{subject.key} ({subject.name}) cannot be analyzed with attribution: that needs an "
            "HRNetV2 or GSTO-HRNet, read at stage4.branch*; leave --attribution or --taps out"
        )


def shapley_columns(
    subject: Subject, sample: Sample, cuts: Sequence[PreparedRegions]
) -> list[Arrays]:
    """Explain the regions of one image, cut in one or several ways, from one pass.

    Args:
        subject: The network, with its baseline.
        sample: The image.
        cuts: Sets of regions. Each region is asked about its own class, also where a null model
            has moved it: the same question, put where the object is not.

    Returns:
        For each set ``margin``, ``margin_base``, ``phi_{r}``, ``psi_{r}``, (K,) each.
    """
    assert subject.baseline is not None
    image = subject.tensor(sample.image)[None].to(next(subject.model.parameters()).device)
    seen = head_pass(subject.model, image, subject.baseline.head)
    return [
        {str(name): one.table[name].to_numpy() for name in one.table.columns if name != "region"}
        for one in shapley_tables(seen, subject.baseline, cuts)
    ]


def causal_summary(
    out: Path, key: str, table: pd.DataFrame, settings: Settings, clusters: Mapping[str, str]
) -> dict[str, Any] | str:
    """Estimate SCI_C and STP of one model; a sentence where they were not asked for."""
    if not settings.attribution:
        return "not computed; gsto-viz analyze --attribution computes it"
    strides = tuple(settings.models[key]["strides"])
    seed = settings.seed
    own = estimate(sci_c_values(table, strides), clusters, seed)
    nulls = _nulls(out, key, table, settings, clusters) if settings.nulls else {}
    found = {
        "sci_c": {**plain(own), "nulls": {name: one.to_json() for name, one in nulls.items()}},
        "sci_c_shares": estimate(sci_c_values(table, strides, response="phi"), clusters, seed),
        **transfer_summary(out, key, clusters, seed),
    }
    values: dict[str, Any] = plain(found)
    return values


def _nulls(
    out: Path, key: str, table: pd.DataFrame, settings: Settings, clusters: Mapping[str, str]
) -> dict[str, Null]:
    """Give SCI_C with moved annotation (N1, N2), random weights (N3) and permuted sizes (N4)."""
    strides = tuple(settings.models[key]["strides"])
    tables = _moved(out, key)
    if settings.random_draws:
        tables["N3"] = _draws(read_table(out / "random.parquet", model=key))
    tables["N4"] = [
        permute_sizes(table, seed=settings.seed, draw=draw) for draw in range(PERMUTATIONS)
    ]
    found: dict[str, Null] = {}
    for name, draws in tables.items():
        values = [sci_c_values(one, strides).assign(draw=k) for k, one in enumerate(draws)]
        rows = pd.concat(values, ignore_index=True).assign(index="sci_c")
        found[name] = summarise_null(rows, clusters, settings.seed).get("sci_c", NOTHING)
    return found


def _moved(out: Path, key: str) -> dict[str, list[pd.DataFrame]]:
    """Return the draws of N1 and N2; none where no image can be shifted or has a partner."""
    path = out / "moved.parquet"
    if not path.is_file():
        return {}
    moved = read_table(path, model=key)
    return {str(null): _draws(rows.drop(columns="null")) for null, rows in moved.groupby("null")}


def _draws(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Take the region tables of one network apart by draw."""
    return [one.drop(columns=["model", "draw"]) for _, one in table.groupby("draw")]


def sides(sci: Estimate, sci_c: Estimate, stp: Estimate | None) -> dict[str, str]:
    """Say of each of the three indices on which side of chance its interval lies.

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
    """Say in words whether firing, evidence and intervention tell one story."""
    said = "; ".join(f"{name}: {side}" for name, side in found.items())
    judged = {side for side in found.values() if side != "not judged"}
    if len(judged) < len(set(found.values())) or not judged:
        return f"The three indices cannot all be judged ({said})."
    if len(judged) == 1:
        return f"The three indices agree ({said})."
    return f"The three indices disagree, and that is the finding ({said})."
