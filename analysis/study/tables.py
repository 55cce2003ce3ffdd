"""The tables of an arm, made from the result files of its runs: ``runs.csv`` and ``course.csv``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from measure import DIGITS, PRE
from places import read_result

from gsto_viz.files import atomic_path
from gsto_viz.words import INDICES

NULLS = ("N1", "N2", "N3", "N4", "N5")
OWN = ("protocol", "arm", "variant", "label", "seed", "status", "reason", "steps", "seconds")
COURSE = ("variant", "seed", "kind", "epoch", "step", "name", "value")


def write_tables(results: Path) -> None:
    """Write both tables anew, each whole or not at all; rows by variant and seed."""
    found = [read_result(path) for path in sorted(results.glob("*-seed*.json"))]
    found.sort(key=lambda one: (one["variant"], one["seed"]))
    runs = pd.DataFrame([run_row(one) for one in found])
    course = pd.DataFrame([row for one in found for row in course_rows(one)], columns=[*COURSE])
    for name, table in (("runs", runs), ("course", course)):
        with atomic_path(results / f"{name}.csv") as path:
            table.to_csv(path, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")


def run_row(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a run; one that diverged has no measures."""
    row = {name: result.get(name) for name in OWN}
    row |= {"val_miou": result.get("best_miou"), "torch": result.get("versions", {}).get("torch")}
    row["sha256"] = result.get("sha256")
    if "post" not in result:
        return row
    post, pre, causes = result["post"], result["pre"], result["attribution"]
    row["miou"] = None if post["scores"] is None else post["scores"]["miou"]
    row |= {name: _value(post["indices"], name) for name in INDICES}
    row |= {f"sci_{n}": _null(post["indices"]["sci"], n) for n in NULLS}
    row |= {f"{name}_pre": _value(pre["indices"], name) for name in PRE}
    row |= {"sci_c": _value(causes, "sci_c"), "stp": _value(causes.get("stp", {}), "+1")}
    row["stp_beyond_blur"] = _value(causes.get("stp_beyond_blur", {}), "+1")
    row["gate_selectivity"] = _value(post["gates"] or {}, "selectivity")
    return row


def course_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every number of every evaluation of a run, a row each."""
    return [
        {
            "variant": result["variant"],
            "seed": result["seed"],
            **{key: line.get(key) for key in ("kind", "epoch", "step")},
            "name": name,
            "value": value,
        }
        for line in result.get("course", [])
        for name, value in line.items()
        if name not in COURSE and isinstance(value, (int, float))
    ]


def _value(values: Mapping[str, Any], name: str) -> float | None:
    found = values.get(name)
    return None if found is None else found["value"]


def _null(index: Mapping[str, Any], name: str) -> float | None:
    return _value(index["nulls"], name)
