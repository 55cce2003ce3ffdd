"""``make judge BASE=SHA``: does a commit still give the same numbers, bit for bit, on this machine?

Checks BASE and HEAD out, runs the same command lines with both, and compares everything they write
and print. Logits differ between processors and numbers of threads, so both sides run here, with one
thread each, at the same time. Only command lines and the files that they write are used, in the
spelling of the first commit that was judged: what is inside may move.

Exit status: 0 equal, 1 different, 2 BASE could not be run or the call is wrong.
"""

import argparse
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from differences import FILES_LEFT_OUT, LEFT_OUT, LINES_LEFT_OUT, Compared, compare_folders

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCENES = "--model A=scenes-hrnetv2-w18-small-v1 --model B=scenes-gsto-hrnet-w18-small-v1"
CAMVID = "--model A=camvid-hrnetv2-w18-small-v1 --model B=camvid-gsto-hrnet-w18-small-v1"
GATED = "scenes-gsto-hrnet-w18-small-v1"
PHOTO = "scenes/images/scene-1000000-00000.png"
LABELS = "scenes/labels/scene-1000000-00000.png"
CHAINS: tuple[Mapping[str, str], ...] = (
    {
        "camvid": f"analyze {CAMVID} --data camvid:{{camvid}}:eval --limit 6 --size 180x240 --nulls"
        " --attribution --out camvid",
        "camvid_compare": "compare camvid",
        "camvid_figures": "figures camvid --format png",
    },
    {
        "view_explore": "export --view {views}/explore.json --out view_explore",
        "view_gates": "export --view {views}/gates.json --out view_gates",
        "view_sizes": "export --view {views}/sizes.json --out view_sizes",
        "view_attribution": "export --view {views}/attribution.json --out view_attribution",
    },
    {
        "scenes": "scenes scenes --count 3 --size 64x128",
        "attribute": f"attribute {GATED} {PHOTO} --labels {LABELS} --target region:car:largest"
        " --tap stage2.branch* --tap stage3.m0.gate.2to0 --change stage4.branch2=zero --sanity"
        " --out attribute --json attribute.json",
        "capture": f"capture {GATED} {PHOTO} --taps stage4.branch* --taps *gate*"
        " --reduce gain_fixed --out capture.npz --json capture.json",
        "train": "train camvid-w18-small-v1 --model gsto-hrnet-tiny --data folder:scenes"
        " --val folder:scenes --set epochs=3 --set crop=[64,64] --set batch_size=2 --out train",
    },
    {
        "analyze": f"analyze {SCENES} --data scenes:count=10,seed=5,size=64x128 --nulls"
        " --attribution --out analyze --json analyze.json",
        "compare": "compare analyze --json compare.json",
    },
    {
        "demo": f"demo {SCENES} --data scenes:count=2,seed=3,size=64x128 --no-nulls --out demo",
        "models": "models --json models.json",
        "evaluate": f"evaluate {GATED} --data scenes:count=3,size=96x160 --scales 0.5,1 --flip"
        " --json evaluate.json",
        "doctor": f"doctor {GATED} --json doctor.json",
    },
)
"""What is run on both sides, by the name of the printed text: a chain in its order, chains at once.

Small inputs, so that all of it takes minutes: ten images, the fewest that have an interval.
"""
STEPS = {name: line for chain in CHAINS for name, line in chain.items()}
LANES = 2
"""Commands that run at once: both sides, or two chains of HEAD where BASE is known."""
PROBE = "import gsto_viz, torch; print(gsto_viz.__file__); print(torch.get_num_threads())"


class StoppedError(Exception):
    """The other side failed or the user stopped: nothing more is to be done."""


@dataclass
class Side:
    """One of the two commits: where its files lie, and what became of it.

    Attributes:
        name: ``BASE`` or ``HEAD``.
        tree: The checked-out files.
        out: The folder that its commands write into.
        failures: What failed.
        seconds: By step.
    """

    name: str
    tree: Path
    out: Path
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def places(self) -> tuple[tuple[Path, str], ...]:
        """Return the folders whose names may stand in texts, and what stands for them."""
        return (self.out, "OUT"), (self.tree, "TREE")

    def note(self) -> None:
        """Keep beside the outputs what cleaning their texts needs, for the cache."""
        note = {"tree": str(self.tree), "out": str(self.out), "seconds": self.seconds}
        self.out.with_suffix(".side").write_text(json.dumps(note))


def main(words: list[str] | None = None) -> int:
    """Judge, print the table, return the exit status."""
    parser = argparse.ArgumentParser(prog="make judge BASE=SHA", description=__doc__)
    parser.add_argument("--base", required=True, help="commit that the numbers are held against")
    parser.add_argument("--head", default="HEAD", help="commit that is judged (default: HEAD)")
    parser.add_argument(
        "--tree", action="store_true", help="judge the working tree as it lies instead of a commit"
    )
    parser.add_argument(
        "--rtol",
        type=float,
        default=0.0,
        metavar="R",
        help="floats may differ by R of the larger one: 1e-12 where sums are only reordered",
    )
    parser.add_argument("--no-cache", action="store_true", help="run BASE anew, keep nothing of it")
    parser.add_argument(
        "--only", action="append", choices=STEPS, metavar="STEP", help="run only the chain of this"
    )
    args = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="gsto_viz_judge_") as place:
            return judge(args, Path(place))
    except KeyboardInterrupt:
        print("judge: interrupted; nothing is left behind", file=sys.stderr)
        return 130
    except (subprocess.CalledProcessError, RuntimeError) as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2


def judge(args: argparse.Namespace, place: Path) -> int:
    """Run both sides in a temporary folder, compare, print."""
    start = time.monotonic()
    chains = chosen_chains(args.only)
    base_sha, head_sha = commit_of(args.base), commit_of(args.head)
    kept = None if args.no_cache else cache_home() / cache_key(base_sha, chains)
    known = kept is not None and kept.with_suffix(".side").is_file()
    head_name = "the working tree" if args.tree else head_sha[:12]
    print(f"BASE {base_sha[:12]}{' (kept from an earlier run)' if known else ''}, HEAD {head_name}")
    with (
        worktree(base_sha, place / "base_tree", wanted=not known) as base_tree,
        worktree(head_sha, place / "head_tree", wanted=not args.tree) as head_tree,
    ):
        base = Side("BASE", base_tree, kept if known and kept else place / "base")
        head = Side("HEAD", ROOT if args.tree else head_tree, place / "head")
        run_sides([head] if known else [base, head], chains)
    if base.failures:
        raise RuntimeError("BASE cannot be run, so nothing can be compared\n" + base.failures[0])
    if kept is not None and not known:
        keep(base, kept)
    results = compare_folders(base.out, head.out, rtol=args.rtol, clean=cleaner(base, head))
    print_seconds(base, head)
    print_table(results)
    for failure in head.failures:
        print(f"\n{failure}")
    different = bool(head.failures) or any(one.differing for one in results)
    values = sum(one.values for one in results)
    tolerance = f"floats within {args.rtol:g}" if args.rtol else "bit for bit"
    print(
        f"\n{'DIFFERENT' if different else 'EQUAL'}: {len(results)} files, {values} values, "
        f"{tolerance}; {time.monotonic() - start:.0f} s"
    )
    return int(different)


def chosen_chains(only: list[str] | None) -> list[Mapping[str, str]]:
    """Return what to run; what lacks its data set is left out, with a printed reason."""
    chains = [one for one in CHAINS if only is None or set(only) & set(one)]
    if "GSTO_VIZ_CAMVID" in os.environ or CHAINS[0] not in chains:
        return chains
    print(f"left out: {', '.join(CHAINS[0])} (GSTO_VIZ_CAMVID does not say where CamVid is)")
    return [one for one in chains if one is not CHAINS[0]]


def commit_of(name: str) -> str:
    """Return the full SHA of a commit."""
    done = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)
    if done.returncode:
        raise RuntimeError(f"'{name}' is not a commit of this repository; give BASE=SHA")
    return done.stdout.strip()


def git(*words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run git in the repository."""
    return subprocess.run(
        ["git", "-C", str(ROOT), *words], check=check, capture_output=True, text=True
    )


@contextmanager
def worktree(sha: str, path: Path, *, wanted: bool) -> Iterator[Path]:
    """Check a commit out beside the repository, and take it away again whatever happens."""
    if not wanted:
        yield path
        return
    try:
        git("worktree", "add", "--detach", "--force", str(path), sha)
        yield path
    finally:
        git("worktree", "remove", "--force", str(path), check=False)
        shutil.rmtree(path, ignore_errors=True)
        git("worktree", "prune", check=False)


def run_sides(sides: list[Side], chains: Sequence[Mapping[str, str]]) -> None:
    """Run the chains of both sides, a few at once; none goes on once BASE has failed."""
    stop = threading.Event()
    for side in sides:
        check_side(side)
    lanes = ThreadPoolExecutor(LANES)
    try:
        jobs = [lanes.submit(run_chain, one, chain, stop) for chain in chains for one in sides]
        for job in jobs:
            job.result()
    finally:
        stop.set()
        lanes.shutdown(cancel_futures=True)


def check_side(side: Side) -> None:
    """Make the folder of a side; refuse one that imports another package than its own."""
    side.out.mkdir(parents=True)
    where, threads = call(side, "probe", ["-c", PROBE], threading.Event()).split("\n")[:2]
    if Path(where).parent.parent.resolve() != side.tree.resolve() or threads != "1":
        raise RuntimeError(
            f"{side.name} imports {where}, {threads} threads; not {side.tree} with 1"
        )
    print(f"{side.name} imports {where}, {threads} thread", flush=True)


def run_chain(side: Side, chain: Mapping[str, str], stop: threading.Event) -> None:
    """Run the steps of one chain up to the first that fails."""
    camvid = Path(os.environ.get("GSTO_VIZ_CAMVID", ".")).resolve()
    try:
        for name, line in chain.items():
            filled = line.format(camvid=camvid, views=HERE / "views")
            started = time.monotonic()
            text = call(side, name, ["-m", "gsto_viz", *shlex.split(filled)], stop)
            (side.out / f"{name}.txt").write_text(text, encoding="utf-8")
            side.seconds[name] = time.monotonic() - started
    except StoppedError:
        return
    except RuntimeError as error:
        side.failures.append(str(error))
        if side.name == "BASE":
            stop.set()


def call(side: Side, name: str, words: list[str], stop: threading.Event) -> str:
    """Run Python with the package of a side and return what it prints.

    Raises:
        RuntimeError: It fails; with the end of what it said.
        StoppedError: ``stop`` was set; the process has ended.
    """
    said = side.out.parent / f"{side.name}-{name}.err"
    with said.open("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=side.out,
            env=environment(side.tree),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        text = ""
        try:
            while True:
                try:
                    text, _ = process.communicate(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    if stop.is_set():
                        raise StoppedError from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            errors.seek(0)
            end = "\n".join(errors.read().splitlines()[-8:])
            raise RuntimeError(
                f"{side.name}, step {name}: exit status {process.returncode} of\n"
                f"  {shlex.join(words)}\n{end}"
            )
    return text


def environment(tree: Path) -> dict[str, str]:
    """Return the environment of a side: its package first, one thread, no settings of the user."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("GSTO_VIZ_")}
    threads = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
    return {
        **ours,
        **{f"{name}_NUM_THREADS": "1" for name in threads},
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def cache_home() -> Path:
    """Return the folder that keeps the outputs of BASE."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "gsto_viz_judge"


def cache_key(sha: str, chains: Sequence[Mapping[str, str]]) -> str:
    """Return a name for everything that the outputs of BASE depend on."""
    views = {path.name: path.read_text() for path in sorted((HERE / "views").iterdir())}
    packages = sorted(f"{one.name}=={one.version}" for one in metadata.distributions())
    processor = [line for line in _cpuinfo() if line.startswith(("model name", "flags"))][:2]
    depends = [
        *(sha, chains, views, packages, processor),
        *(platform.node(), platform.platform(), sys.version, os.environ.get("GSTO_VIZ_CAMVID")),
    ]
    return f"{sha[:12]}-{hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:12]}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else [platform.processor()]


def keep(base: Side, kept: Path) -> None:
    """Put the outputs of BASE into the cache; its note comes last and says that all is there."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as part:
        copied = Path(shutil.copytree(base.out, Path(part) / "out"))
        copied.rename(kept)
    base.note()
    shutil.copy(base.out.with_suffix(".side"), kept.with_suffix(".side"))


def cleaner(base: Side, head: Side) -> Callable[[str], str]:
    """Return what takes the places of both sides out of a text."""
    note = base.out.with_suffix(".side")
    places = {str(path): name for s in (base, head) for path, name in s.places()}
    if note.is_file():
        record = json.loads(note.read_text())
        base.seconds = record["seconds"]
        places |= {record["out"]: "OUT", record["tree"]: "TREE"}

    def clean(text: str) -> str:
        for path in sorted(places, key=len, reverse=True):
            text = text.replace(path, places[path])
        return text

    return clean


def print_seconds(base: Side, head: Side) -> None:
    """Print how long the steps took."""
    print(f"\n{'step':18}{'BASE s':>8}{'HEAD s':>8}")
    for name in {**base.seconds, **head.seconds}:
        cells = [
            f"{s.seconds[name]:8.0f}" if name in s.seconds else f"{'-':>8}" for s in (base, head)
        ]
        print(f"{name:18}{''.join(cells)}")
    totals = "".join(f"{sum(side.seconds.values()):8.0f}" for side in (base, head))
    print(f"{'all':18}{totals}")


def print_table(results: list[Compared]) -> None:
    """Print one line per file, and the first differences of those that differ."""
    width = max((len(one.file) for one in results), default=0)
    print()
    for one in results:
        if not one.differing:
            print(f"{one.file:{width}}  equal      {one.values} values")
            continue
        print(
            f"{one.file:{width}}  DIFFERENT  {one.differing} of {one.values} values, "
            f"largest relative difference {one.largest:.2g}"
        )
        for difference in one.shown:
            print(f"    {difference.place}: {difference.old} -> {difference.new}")
    left_out = {**LEFT_OUT, **LINES_LEFT_OUT, **FILES_LEFT_OUT}
    print("\nnot compared: " + "; ".join(f"{key.strip()} ({why})" for key, why in left_out.items()))


if __name__ == "__main__":
    sys.exit(main())
