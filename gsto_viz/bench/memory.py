"""Whether memory stays flat, however many images are analyzed."""

import gc
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gsto_viz.bench.analysis import random_pair, settings_of
from gsto_viz.bench.timing import Measurement, Say, megabytes
from gsto_viz.data.classes import CAMVID_CLASSES
from gsto_viz.report.chunks import write_chunk
from gsto_viz.report.passes import run_chunk
from gsto_viz.report.settings import CHUNK_IMAGES
from gsto_viz.types import ClassList, Sample

PAIR = {"A": "hrnetv2-w18-small-v1", "B": "gsto-hrnet-w18-small-v1"}
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
    subjects = random_pair(data, PAIR)
    pictures = [data[index].image for index in range(4)]
    subjects = [subject.calibrated(pictures) for subject in subjects]
    settings = settings_of(data, subjects)
    what = f"{' and '.join(PAIR.values())}, images of {SIZE[0]}x{SIZE[1]}"
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
