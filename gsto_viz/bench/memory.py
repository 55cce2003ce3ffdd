"""Whether memory stays flat, and whether gradients keep the memory that they are allowed.

Each piece of work runs in a process of its own, whose largest resident size is read at its end.
"""

import gc
import multiprocessing
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from gsto_viz.attribution.gradients import DEFAULT_BUDGET, Explainer
from gsto_viz.attribution.places import Pixel, View
from gsto_viz.attribution.targets import Target, resolve_batch
from gsto_viz.bench.analysis import random_pair, settings_of
from gsto_viz.bench.timing import Measurement, Say, megabytes
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.errors import GstoVizError
from gsto_viz.network import open_network
from gsto_viz.report.folder import CHUNK_IMAGES, write_chunk
from gsto_viz.report.passes import run_chunk
from gsto_viz.types import ClassList, Sample

MEMORY_PAIR = {"A": "hrnetv2-w18-small-v1", "B": "gsto-hrnet-w18-small-v1"}
TARGET_MB = 100.0
SIZE = (64, 96)


@dataclass(frozen=True)
class Patches:
    """Small images of random rectangles with their labels, drawn when asked for."""

    count: int
    name: str = "patches"
    classes: ClassList = CAMVID_CLASSES

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids."""
        return tuple(f"{index:06d}" for index in range(self.count))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        labels = np.zeros(SIZE, dtype=np.uint8)
        for _ in range(8):
            y, x, height, width = rng.integers(0, 48, 4)
            labels[y : y + height + 4, x : x + width + 4] = rng.integers(0, len(self.classes))
        noise = rng.integers(0, 40, (*SIZE, 3))
        return Sample(f"{index:06d}", (noise + 15 * labels[..., None]).astype(np.uint8), labels)


def resident_mb() -> float:
    """Return the resident size of this process in MB (2^20); without ``/proc``, its peak so far."""
    return _status_mb("VmRSS")


def peak_mb() -> float:
    """Return the largest resident size that this process has had, in MB (2^20)."""
    return _status_mb("VmHWM")


def _status_mb(field: str) -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) / 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def bench_memory(quick: bool, say: Say) -> list[Measurement]:
    """Analyze many small images chunk by chunk and compare the resident size early and late."""
    early, late = (16, 48) if quick else (200, 2000)
    data = Patches(late)
    subjects = random_pair(data, MEMORY_PAIR)
    pictures = [data[index].image for index in range(4)]
    subjects = [subject.calibrated(pictures) for subject in subjects]
    settings = settings_of(data, subjects)
    what = f"{' and '.join(MEMORY_PAIR.values())}, images of {SIZE[0]}x{SIZE[1]}"
    say(f"memory: {late} images, {what}")
    sizes = {}
    with tempfile.TemporaryDirectory(prefix="gsto-viz-bench-") as folder:
        for first in range(0, late, CHUNK_IMAGES):
            chunk = run_chunk(subjects, {}, data, range(first, first + CHUNK_IMAGES), settings, {})
            write_chunk(Path(folder), first // CHUNK_IMAGES, chunk.tables())
            if first + CHUNK_IMAGES in (early, late):
                del chunk
                gc.collect()
                sizes[first + CHUNK_IMAGES] = resident_mb()
    growth = sizes[late] - sizes[early]
    return [
        megabytes("memory_resident", sizes[late], f"resident size after {late} images: {what}"),
        megabytes(
            "memory_growth",
            growth,
            f"resident size after {late} images less that after {early}",
            target=None if quick else TARGET_MB,
        ),
    ]


MB = 2**20
CLASSES = 19
STEPS = 2
TAPS = {"last": "stage4.branch*", "stem": "stem"}
"""What gradients are taken at: the branches that enter the head, and the longest way there is."""


@dataclass(frozen=True)
class Case:
    """One piece of work.

    Attributes:
        network: Its name; random weights, 19 classes.
        size: Height and width of the image.
        taps: Where gradients are taken.
        budget: Bytes allowed, besides the network itself.
    """

    network: str
    size: tuple[int, int]
    taps: str
    budget: int


def bench_attribution_memory(quick: bool, say: Say) -> list[Measurement]:
    """Integrate gradients and compare the growth of resident memory with estimate and budget."""
    network, size = ("hrnetv2-w18-small-v1", (96, 128)) if quick else ("hrnetv2-w48", (512, 1024))
    found = []
    for short, taps in TAPS.items():
        case = Case(network, size, taps, DEFAULT_BUDGET)
        what = (
            f"integrated gradients at {taps}, {STEPS} steps, {network}, random weights, "
            f"{size[0]}x{size[1]}"
        )
        say(f"attribution-memory: {what}")
        estimate, growth = measured(case, say)
        found += [
            megabytes(f"integrated_{short}_estimate", estimate, f"estimate before: {what}"),
            megabytes(
                f"integrated_{short}_growth",
                growth,
                "largest resident size of the process less that with the network and image alone",
                target=None if quick else case.budget / MB,
            ),
        ]
    return found


def measured(case: Case, say: Say) -> tuple[float, float]:
    """Run one piece of work in a new process.

    Args:
        case: The work.
        say: Takes the estimate in words before the work starts.

    Returns:
        The estimate, and by how much resident memory grew at most, MB.

    Raises:
        GstoVizError: The process ended early, for want of memory for example.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, case, torch.get_num_threads()))
    process.start()
    sender.close()
    try:
        say(f"attribution-memory: {receiver.recv()}")
        estimate, growth = receiver.recv()
    except EOFError as error:
        process.join()
        raise GstoVizError(
            f"the process that integrated gradients ran in ended with {process.exitcode}; free "
            "memory and run it again"
        ) from error
    finally:
        receiver.close()
        process.join()
    return estimate, growth


def _work(sender: Connection, case: Case, threads: int) -> None:
    """Send the estimate in words, then the estimate and the growth in MB."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    height, width = case.size
    names = tuple(str(k) for k in range(CLASSES))
    model = open_network(case.network, code=True, num_classes=CLASSES).module
    image = torch.randn(1, 3, height, width)
    view = View(np.zeros(case.size, dtype=np.uint8), names)
    target = Target(Pixel(width // 2, height // 2, "1"))
    entries = resolve_batch(target, view, (1, CLASSES, -(-height // 4), -(-width // 4)))
    explainer = Explainer(model, image, entries, announce=sender.send)
    before = resident_mb()
    found = explainer.run("integrated_gradients", case.taps, steps=STEPS, budget=case.budget)
    growth = peak_mb() - before
    estimate = found.memory
    sender.send((0.0 if estimate is None else estimate.peak / MB, growth))
    sender.close()
