"""Run the study: train the networks of one arm, or measure those that are trained.

    python analysis/study/run.py --arm scenes --seeds 4 --dry-run
    python analysis/study/run.py --arm scenes --seeds 4 --resume
    python analysis/study/run.py --arm scenes --seeds 4 --measure

README.md says what is studied and why. Exit status: 0 done; 2 what was given is wrong; 3 done, but
some runs diverged; 130 stopped (the same command with --resume goes on).
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from arms import STUDY, Run, load_arm
from measure import facts, write_result
from places import Places, seconds_per_step
from tables import write_tables
from work import Task, failure, work

from gsto_viz.cli import OneLineParser
from gsto_viz.commands.options import is_quiet
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.files import write_text
from gsto_viz.train.build import duration

DIVERGED = re.compile(
    r"the loss is -?(nan|inf) at step|is not finite at step|gives no finite logits"
)
"""What ``gsto-viz train`` says, with exit status 2, of a run that cannot go on."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = OneLineParser(prog="run.py", description=__doc__.split("\n")[0])
    made.add_argument("--arm", required=True, help="the world: scenes, decorrelated or camvid")
    made.add_argument("--seeds", type=int, metavar="N", help="seeds 1 to N (default: the arm's)")
    made.add_argument(
        "--variant", nargs="+", metavar="NAME", help="only these networks (default: the arm's)"
    )
    made.add_argument("--out", metavar="DIR", help="folder of the runs (default: runs/study/ARM)")
    made.add_argument(
        "--results", metavar="DIR", help="folder of the tables (default: results/ARM by the study)"
    )
    made.add_argument("--study", default=str(STUDY), metavar="FILE", help="another study.yaml")
    made.add_argument(
        "--camvid",
        default=os.environ.get("GSTO_VIZ_CAMVID"),
        metavar="PATH",
        help="folder of CamVid (default: $GSTO_VIZ_CAMVID)",
    )
    made.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    made.add_argument("--quiet", action="store_true", help="no progress bar")
    made.add_argument("--resume", action="store_true", help="go on with the runs in --out")
    what = made.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    what.add_argument(
        "--measure", action="store_true", help="measure what is trained instead of training"
    )
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    args = parser().parse_args(words)
    try:
        return study(args)
    except GstoVizError as error:
        sys.stderr.write(f"run.py: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("run.py: interrupted\n")
        return 130


def study(args: argparse.Namespace) -> int:
    """Plan, then train or measure."""
    if not 1 <= args.jobs <= 64:
        raise GstoVizError(f"--jobs {args.jobs}: give a number from 1 to 64")
    arm = load_arm(args.study, args.arm, args.camvid)
    runs = arm.runs(args.variant, args.seeds)
    out = Path(args.out or Path("runs") / "study" / arm.name)
    places = Places(arm, out, Path(args.results or Path(args.study).parent / "results" / arm.name))
    places.check(resume=args.resume or args.dry_run or args.measure)
    sys.stdout.write("".join(f"{line}\n" for line in plan(places, runs, args.jobs)))
    sys.stdout.flush()
    if args.dry_run:
        return 0
    step = measure if args.measure else train
    if not step(args, places, runs):
        sys.stderr.write("run.py: stopped; the same command with --resume goes on\n")
        return 130
    return summary(places, runs)


def plan(places: Places, runs: Sequence[Run], jobs: int) -> list[str]:
    """Print what will be trained and how long it takes."""
    arm = places.arm
    data = load_data(arm.spec("data"), purpose="train")
    recipe = arm.recipes[runs[0].variant]
    steps = recipe.epochs * (len(data) // recipe.batch_size)
    rate, source = seconds_per_step(places, runs)
    left = sum(steps - steps_done(places, run, steps) for run in runs)
    todo = [run for run in runs if not places.is_done(run)]
    variants = list(dict.fromkeys(run.variant for run in runs))
    seeds = len(runs) // len(variants)
    each, whole = duration(rate * steps), duration(rate * left)
    rows = [
        ("arm", f"{arm.name}, protocol {arm.protocol}"),
        ("data", f"{len(data)} images of {arm.data['data']}, validation {arm.data['val']}"),
        ("measured on", arm.data["test"]),
        *(("variant", f"{name:<18} {arm.labels[name]}") for name in variants),
        ("runs", f"{len(runs)} (variants x seeds: {len(variants)} x {seeds}), seed by seed"),
        ("to train", f"{len(todo)} of them, {steps} steps each, {left} in all"),
        ("to measure", f"{len(measurable(places, runs))} that are trained"),
        ("time", f"{rate:.2f} s a step ({source}): {each} a run, {whole} of one core"),
        ("", f"about {duration(rate * left / jobs)} by {jobs} processes of one thread"),
        ("folders", f"{places.out}, {places.results}"),
    ]
    return [f"{name:<12} {text}" for name, text in rows]


def measurable(places: Places, runs: Sequence[Run]) -> list[Run]:
    """Return the runs that are trained and not measured."""
    left = [run for run in runs if not places.result(run, "json").is_file()]
    return [run for run in left if places.reason(run) is None and places.is_trained(run)]


def steps_done(places: Places, run: Run, steps: int) -> int:
    """Return the steps of a run that need not be taken."""
    if places.is_done(run):
        return steps
    progress = places.progress(run)
    return 0 if progress is None else progress.step


def train(args: argparse.Namespace, places: Places, runs: Sequence[Run]) -> bool:
    """Train what is missing; say whether it came to its end."""
    todo = [run for run in runs if not places.is_done(run)]
    by_name = {run.name: run for run in todo}

    def failed(task: Task, status: int) -> None:
        if status != 2 or not DIVERGED.search(task.said):
            raise failure(task, status)
        write_text(places.divergence(by_name[task.name]), task.said + "\n")

    with places.held(places.out) as descriptor:
        tasks = [training(args, places, run) for run in todo]
        return work(
            tasks,
            jobs=args.jobs,
            failed=failed,
            keep=(descriptor,),
            what="train",
            quiet=is_quiet(args),
        )


def training(args: argparse.Namespace, places: Places, run: Run) -> Task:
    """Return the command that trains a run, or goes on with it."""
    arm = places.arm
    file = places.out / "recipes" / f"{run.name}.yaml"
    arm.recipes[run.variant].with_settings({"seed": run.seed}).save(file)
    command = [
        *(sys.executable, "-m", "gsto_viz", "train", str(file)),
        *("--data", arm.spec("data"), "--val", arm.spec("val")),
        *("--out", str(places.folder(run).path)),
        *("--resume", "--no-check-data", "--device", "cpu", "--quiet"),
    ]
    return Task(run.name, tuple(command), places.log(run, "train"))


def measure(args: argparse.Namespace, places: Places, runs: Sequence[Run]) -> bool:
    """Measure what is trained and not measured; say whether it came to its end."""
    with places.held(places.results) as descriptor:
        for run in runs:
            reason = places.reason(run)
            if reason is not None and not places.result(run, "json").is_file():
                result = {**facts(places.arm, run), "status": "diverged", "reason": reason}
                write_result(places, run, result)
        tasks = [measuring(args, places, run) for run in measurable(places, runs)]
        ended = work(
            tasks,
            jobs=args.jobs,
            failed=_raise,
            keep=(descriptor,),
            what="measure",
            quiet=is_quiet(args),
        )
        write_tables(places.results)
    return ended


def _raise(task: Task, status: int) -> None:
    raise failure(task, status)


def measuring(args: argparse.Namespace, places: Places, run: Run) -> Task:
    """Return the command that measures a run."""
    script = str(Path(__file__).with_name("measure.py"))
    words = [args.study, places.arm.name, run.variant, str(run.seed), places.out, places.results]
    more = [args.camvid] if args.camvid else []
    command = tuple(map(str, (sys.executable, script, *words, *more)))
    return Task(run.name, command, places.log(run, "measure"))


def summary(places: Places, runs: Sequence[Run]) -> int:
    """Print how far the runs are; return 3 if some of them diverged."""
    counts = Counter(state(places, run) for run in runs)
    sys.stdout.write(
        f"{len(runs)} runs: " + ", ".join(f"{n} {s}" for s, n in counts.items()) + "\n"
    )
    reasons = {run.name: reason for run in runs if (reason := places.reason(run)) is not None}
    sys.stdout.write("".join(f"diverged: {name}: {why}\n" for name, why in reasons.items()))
    return 3 if reasons else 0


def state(places: Places, run: Run) -> str:
    """Return how far a run is, in a word or two."""
    if places.reason(run) is not None:
        return "diverged"
    result = places.read_result(run)
    if result is not None:
        return "measured" if result["status"] == "finished" else f"measured, {result['status']}"
    return "trained" if places.is_trained(run) else "to train"


if __name__ == "__main__":
    sys.exit(main())
