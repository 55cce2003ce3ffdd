"""Turn a finished training run into a shipped checkpoint with its model card.

    python analysis/make_weights.py runs/c camvid-hrnetv2-w18-small-v1 --earlier runs/a \
        --earlier runs/b --command "gsto-viz train ..." --command "gsto-viz train ..." \
        --score val=camvid:PATH:val --score eval=camvid:PATH:eval

A run that started from a file says with ``--started-from`` which shipped weights these are.
Convolution weights are stored as float16; the scores on the card are those of the stored file.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from weights_readme import SCORING, Scoring, write_readme

from gsto_viz.cli import main as gsto_viz
from gsto_viz.data import DATA_SETS, PROCEDURAL, data_kind, portable_name, weights_notice
from gsto_viz.files import write_text
from gsto_viz.models import SegmentationNetwork, load_checkpoint, registered, save_checkpoint
from gsto_viz.train.build import SCHEMES
from gsto_viz.train.tasks import TASKS

WEIGHTS = Path(__file__).parent.parent / "gsto_viz" / "weights"


def scored(path: Path, task: str, specs: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return what ``gsto-viz evaluate`` gives of the stored file, by the label of the data."""
    scores = {}
    with TemporaryDirectory() as place:
        for label, spec in specs.items():
            result = Path(place) / "scores.json"
            words = ["evaluate", str(path), "--data", spec, "--json", str(result)]
            if gsto_viz([*words, *SCORING[task].options]):
                sys.exit(f"{path} is not scored on {spec}")
            record = SCORING[task].record(json.loads(result.read_text(encoding="utf-8")))
            scores[label] = {"data": public_spec(spec), **record}
    return scores


def run_info(run: Path, name: str) -> dict[str, Any]:
    info = load_checkpoint(run / f"{name}.safetensors").info
    assert info is not None
    return dict(info.training)


def seconds(runs: list[Path]) -> float:
    return float(sum(run_info(run, "last")["seconds"] for run in runs))


def earlier_phase(run: Path, measure: str) -> dict[str, Any]:
    """What the weights that the next phase started from say of themselves."""
    training = run_info(run, "best")
    return {key: training[key] for key in ("recipe", "epoch", "step", measure)}


def network_words(model: SegmentationNetwork) -> str:
    """Say what a network is: the sentence of its row in the register."""
    assert model.info is not None
    row, _ = registered()[model.info.network]
    return model.config.named(row.words)


def card(name: str, model: SegmentationNetwork, commands: list[str]) -> str:
    assert model.info is not None
    training, notice, sha = model.info.training, model.info.notice, model.info.sha256
    scoring, classes = SCORING[model.task], model.info.classes
    title = DATA_SETS[classes.name].title if classes.name in DATA_SETS else classes.name
    channels = scoring.channels.format(n=len(classes), name=title)
    recipe = training["recipe"]
    phases = [phase["recipe"] for phase in training["earlier"]] + [recipe]
    epochs = " + ".join(str(phase["epochs"]) for phase in phases)
    files = [command.split()[2] for command in commands]
    recipes = ", ".join(f"`gsto_viz/recipes/{file}.yaml`" for file in files)
    first = Path(phases[0]["initialization"]).stem
    start = "random weights" if first in SCHEMES else f"the weights of [`{first}`]({first}.md)"
    lines = [
        f"# {name}",
        "",
        f"{network_words(model)}.",
        "",
        f"`{model.architecture}`, {channels}, trained from {start}.",
        "",
        "| | |",
        "|---|---|",
        f"| data | `{training['data']}` |",
        f"| licence | {notice or 'MIT, as the code: the images are procedural'} |",
        f"| recipe | {recipes} |",
        *(f"| command {k + 1} | `{command}` |" for k, command in enumerate(commands)),
        f"| seed | {training['seed']} |",
        f"| epochs | {epochs}; the best on val: after {training['epoch']}"
        + (" of the last phase |" if training["earlier"] else " |"),
        f"| time | {training['total_seconds'] / 60:.0f} min on one thread of a 2-core CPU that "
        f"other work shared, {recipe['precision']} autocast |",
        f"| torch | {training['torch']} |",
        "| weights | convolutions float16, the rest float32 |",
        f"| SHA-256 | `{sha}` |",
        "",
        f"Scores in percent: {scoring.how}.",
        "Each row names the command that measured it.",
        "",
        *scoring.head("data"),
    ]
    for label, score in training["scores"].items():
        command = f"gsto-viz evaluate {name} --data {score['data']}"
        lines.append(f"| {label} | {scoring.cells(score)} | `{command}` |")
    return "\n".join([*lines, "", *part_table(scoring, training["scores"])]) + "\n"


def part_table(scoring: Scoring, scores: dict[str, dict[str, Any]]) -> list[str]:
    """The scores of classes, or of persons by size: a column for each data set."""
    key, part, measure = scoring.parts
    lines = [f"| {part} | {' | '.join(f'{measure} {label}' for label in scores)} |"]
    lines.append("|---|" + "---|" * len(scores))
    for one in dict.fromkeys(one for score in scores.values() for one in score[key]):
        values = [score[key].get(one) for score in scores.values()]
        cells = ["-" if v is None else f"{v:.{scoring.digits}f}" for v in values]
        lines.append(f"| {one} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--score", action="append", required=True, metavar="NAME=SPEC")
    parser.add_argument(
        "--command", action="append", required=True, help="a training command, for the card"
    )
    parser.add_argument(
        "--earlier", action="append", default=[], type=Path, help="run of an earlier phase"
    )
    parser.add_argument(
        "--started-from", metavar="NAME", help="shipped weights, where the run started from a file"
    )
    args = parser.parse_args()
    specs = dict(item.split("=", 1) for item in args.score)
    model = load_checkpoint(args.run / "best.safetensors")
    last = load_checkpoint(args.run / "last.safetensors")
    if model.info is None or last.info is None or not model.info.gains:
        sys.exit(f"{args.run} is not finished: its best checkpoint has no gains")
    notice = weights_notice(model.info.training["data"])
    target = WEIGHTS / f"{args.name}.safetensors"
    training = {**model.info.training, "total_seconds": seconds([*args.earlier, args.run])}
    training["earlier"] = [earlier_phase(run, TASKS[model.task].measure) for run in args.earlier]
    training["data"] = portable_name(training["data"])
    training["val"] = portable_name(training["val"])
    if args.started_from:
        training["recipe"] = {**training["recipe"], "initialization": args.started_from}
    info = replace(model.info, name=args.name, notice=notice, training=training)
    save_checkpoint(model, target, info=info, half_weights=True)
    training["scores"] = scored(target, model.task, specs)
    save_checkpoint(model, target, info=replace(info, training=training), half_weights=True)
    final = load_checkpoint(target)
    write_text(target.with_suffix(".md"), card(args.name, final, args.command))
    write_readme()
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def public_spec(spec: str) -> str:
    """``camvid:/where/it/lies:val`` -> ``camvid:PATH:val``; rendered images have no path."""
    kind = data_kind(spec)
    return spec if kind in PROCEDURAL else f"{kind}:PATH:{spec.rpartition(':')[2]}"


if __name__ == "__main__":
    main()
