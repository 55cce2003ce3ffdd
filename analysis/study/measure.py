"""Measure one finished run and write its two result files: a process of ``run.py --measure``.

    python measure.py STUDY ARM VARIANT SEED OUT RESULTS [CAMVID]

``NAME.csv``: one row for each test image with its indices at both sites, the cells of the bootstrap
over seeds and images. ``NAME.json``: how it was trained, everything that is estimated of
the network, and the course of training. All numbers are rounded to six significant digits.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from arms import Arm, Run, load_arm
from places import Places
from torch import nn

from gsto_viz.data import KeptDataset, load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path, versions, write_text
from gsto_viz.models import SegmentationNetwork, load_checkpoint
from gsto_viz.network import open_network
from gsto_viz.report import Report, Site, analyze
from gsto_viz.report.folder import plain
from gsto_viz.stats import sci_c_values
from gsto_viz.types import Dataset
from gsto_viz.words import INDICES, OWN

KEY = "A"
RANDOM_SEED = 1
"""N3 (five draws of random weights) is computed for the runs of this seed."""
RANDOM_DRAWS = 5
DIGITS = 6
KEPT = (
    "indices",
    "layout_adjusted",
    "verdict",
    "core_pair_share",
    "sci_by_gap",
    "response_by_octave",
    "tuning",
    "outcome",
    "scores",
    "gates",
)
"""What is kept of the summary of an analysis after the last fusion."""
GATE = ("tap", "source", "target", "mean", "preference", "transmission")
"""What is kept of each gate."""
COURSE = "train"
"""The kind of line in ``log.jsonl`` that is left out of the course: one for every few steps."""
PRE = ("sci", "sci_edge", "a_first_matched", "a_last")
"""Indices that are kept by image before the last fusion."""


def measure_run(places: Places, run: Run) -> None:
    """Analyze the last weights of a run at both sites; the JSON file comes last."""
    arm = places.arm
    network = load_checkpoint(places.folder(run).last)
    data = KeptDataset(load_data(arm.spec("test"), purpose="eval"))
    reports = analyses(places, run, network, data)
    table = image_table(reports)
    result = rounded(plain({**training(places, run), **estimates(reports)}))
    result["sha256"] = None if network.info is None else network.info.sha256
    with atomic_path(places.result(run, "csv")) as path:
        table.to_csv(path, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
    write_result(places, run, result)


def analyses(
    places: Places, run: Run, network: SegmentationNetwork, data: Dataset
) -> dict[str, Report]:
    """Run the three analyses of a network; one that was stopped goes on."""
    assert isinstance(network.stage4, nn.Sequential)
    last = len(network.stage4) - 1
    after = open_network(network)
    before = after.read_at(f"stage4.m{last}.branch*.pre").anatomy
    draws = RANDOM_DRAWS if run.seed == RANDOM_SEED else 0
    options: dict[str, dict[str, Any]] = {
        "post": {"nulls": True, "random_draws": draws},
        # Gates are the same wherever the branches are read: once is enough.
        "pre": {"sites": {KEY: Site(before.branch_taps, before.strides)}},
        "attribution": {
            "sites": {KEY: Site(after.anatomy.branch_taps, after.anatomy.strides)},
            "attribution": True,
            "limit": places.arm.attribution_images,
        },
    }
    return {
        part: analyze({KEY: network}, data, places.analysis(run, part), resume=True, **chosen)
        for part, chosen in options.items()
    }


def image_table(reports: Mapping[str, Report]) -> pd.DataFrame:
    """Return the indices of every image, a column each; empty where an image has no pair.

    SCI_C and STP (at twice the size) are those of the images on which they were measured.
    """
    post, causes = reports["post"], reports["attribution"]
    table = pd.DataFrame(sorted(post.clusters.items()), columns=["image", "cluster"])
    columns = {
        **own_values(post, INDICES),
        "sci_c": sci_c_values(causes.table(KEY), causes.strides[KEY]),
        "stp": causes.stp_values(KEY),
        **{f"{name}_pre": rows for name, rows in own_values(reports["pre"], PRE).items()},
    }
    for name, rows in columns.items():
        table[name] = table["image"].map(rows.set_index("image")["value"])
    return table


def own_values(report: Report, indices: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return by index ``image`` and ``value`` of the network itself, without its null models."""
    values = report.rows("values", KEY)
    own = values[values["null"] == OWN]
    return {name: own[own["index"] == name] for name in indices}


def training(places: Places, run: Run) -> dict[str, Any]:
    """Return how a run was trained, and the course of it."""
    arm, progress = places.arm, places.progress(run)
    assert progress is not None
    low = progress.best_score is None or progress.best_score < arm.floor
    return {
        **facts(arm, run),
        "test": arm.data["test"],
        "status": "below floor" if low else "finished",
        "reason": f"best validation mIoU below {arm.floor:g} %" if low else None,
        "steps": progress.step,
        "seconds": progress.seconds,
        "best_miou": progress.best_score,
        "best_epoch": progress.best_epoch,
        "versions": versions(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "course": course(places.folder(run).path / "log.jsonl"),
    }


def facts(arm: Arm, run: Run) -> dict[str, Any]:
    """Return what a result of a run begins with."""
    recipe = arm.recipes[run.variant]
    return {
        "protocol": arm.protocol,
        "arm": arm.name,
        "variant": run.variant,
        "label": arm.labels[run.variant],
        "seed": run.seed,
        "model": recipe.model,
        "model_options": recipe.model_options,
    }


def course(log: Path) -> list[dict[str, Any]]:
    """Return the evaluations of a run: every line of its log but those of single steps."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [
        {key: value for key, value in line.items() if not isinstance(value, (list, dict))}
        for line in lines
        if line["kind"] != COURSE
    ]


def estimates(reports: Mapping[str, Report]) -> dict[str, Any]:
    """Return what is kept of the summaries of the three analyses."""
    post = reports["post"].model(KEY)
    kept = {name: post[name] for name in KEPT}
    if kept["gates"] is not None:
        gates = [{name: one[name] for name in GATE} for one in kept["gates"]["gates"]]
        kept["gates"] = {**kept["gates"], "gates": gates}
        del kept["gates"]["by_octave"]
    return {
        "images": reports["post"].summary["images"],
        "clusters": reports["post"].summary["clusters"],
        "post": kept,
        "pre": {name: reports["pre"].model(KEY)[name] for name in ("indices", "core_pair_share")},
        "attribution": {
            "images": reports["attribution"].summary["images"],
            **(reports["attribution"].causal(KEY) or {}),
        },
    }


def rounded(value: Any) -> Any:
    """Round all numbers of plain values."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def write_result(places: Places, run: Run, result: Mapping[str, Any]) -> None:
    """Write the JSON file of a run, a key a line."""
    lines = (f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in plain(result).items())
    write_text(places.result(run, "json"), "{\n" + ",\n".join(lines) + "\n}\n")


def main(words: Sequence[str]) -> None:
    study, arm, variant, seed, out, results, *camvid = words
    places = Places(load_arm(study, arm, camvid[0] if camvid else None), Path(out), Path(results))
    measure_run(places, Run(variant, int(seed)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except GstoVizError as error:
        sys.exit(str(error))
