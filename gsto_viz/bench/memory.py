"""Whether memory stays flat, and whether gradients keep the memory that they are allowed.

Each piece of work runs in a process of its own, whose largest resident size is read at its end.
"""

import gc
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch

from gsto_viz.activity import grid_shape
from gsto_viz.attribution.areas import Pixel, View
from gsto_viz.attribution.gradients import DEFAULT_BUDGET, Explainer
from gsto_viz.attribution.targets import Target, resolve_batch
from gsto_viz.bench.analysis import random_pair, settings_of
from gsto_viz.bench.timing import Measurement, Say, megabytes
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.errors import GstoVizError
from gsto_viz.network import open_network
from gsto_viz.report.folder import CHUNK_IMAGES
from gsto_viz.report.passes import run_chunk
from gsto_viz.report.tables import write_chunk

MEMORY_PAIR = {"A": "hrnetv2-w18-small-v1", "B": "gsto-hrnet-w18-small-v1"}
TARGET_MB = 100.0
SIZE = (64, 96)


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
    data = SceneDataset(late, 0, SIZE, "eval")
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


def bench_attribution_memory(quick: bool, say: Say) -> list[Measurement]:
    """Integrate gradients and compare the growth of resident memory with estimate and budget."""
    network, size = ("hrnetv2-w18-small-v1", (96, 128)) if quick else ("hrnetv2-w48", (512, 1024))
    found = []
    for short, taps in TAPS.items():
        what = (
            f"integrated gradients at {taps}, {STEPS} steps, {network}, random weights, "
            f"{size[0]}x{size[1]}"
        )
        say(f"attribution-memory: {what}")
        words, estimate, growth = measured(network, size, taps)
        say(f"attribution-memory: {words}")
        found += [
            megabytes(f"integrated_{short}_estimate", estimate, f"estimate before: {what}"),
            megabytes(
                f"integrated_{short}_growth",
                growth,
                "largest resident size of the process less that with the network and image alone",
                target=None if quick else DEFAULT_BUDGET / MB,
            ),
        ]
    return found


def measured(network: str, size: tuple[int, int], taps: str) -> tuple[str, float, float]:
    """Integrate gradients in a new process.

    Args:
        network: As ``open_network`` takes it, code allowed; 19 classes.
        size: Height and width of the image.
        taps: Where gradients are taken.

    Returns:
        The estimate in words, the estimate, and by how much resident memory grew at most, MB.

    Raises:
        GstoVizError: The process ended early, for want of memory for example.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_work, network, size, taps, torch.get_num_threads()).result()
        except BrokenProcessPool as error:
            raise GstoVizError(
                "the process that integrated gradients ran in ended early; free memory and run it "
                "again"
            ) from error


def _work(network: str, size: tuple[int, int], taps: str, threads: int) -> tuple[str, float, float]:
    """Return the estimate in words, and the estimate and the growth in MB."""
    torch.set_num_threads(threads)
    height, width = size
    names = tuple(str(k) for k in range(CLASSES))
    model = open_network(network, code=True).module
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    view = View(np.zeros(size, dtype=np.uint8), names)
    target = Target(Pixel(width // 2, height // 2, "1"))
    entries = resolve_batch(target, view, (1, CLASSES, *grid_shape(height, width, 4)))
    said: list[str] = []
    explainer = Explainer(model, image, entries, announce=said.append)
    before = resident_mb()
    found = explainer.run("integrated_gradients", taps, steps=STEPS, budget=DEFAULT_BUDGET)
    growth = peak_mb() - before
    estimate = 0.0 if found.memory is None else found.memory.peak / MB
    return " ".join(said), estimate, growth
