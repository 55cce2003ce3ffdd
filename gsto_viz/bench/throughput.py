"""How fast training samples come off the disk: Cityscapes-sized PNGs, crops of 512 x 1024.

The images are procedural street scenes of 2048 x 1024 pixels, smoothed as by a camera's lens so
that their PNGs have about the size of Cityscapes' (2.3 MB). A worker reads a sample, augments it as
the Cityscapes recipes do and puts it into a batch of uint8, which is what a loader hands on: an
accelerator normalises faster than it receives floats.
"""

import functools
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data import DATA_SETS, LABEL_IDS, Augmentation, PredecodedCache, write_png
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.types import Dataset

IMAGE_SIZE, CROP = (1024, 2048), (512, 1024)
SCALES, SCALE_STEP = (0.5, 2.1), 0.1
BATCH = 4

Source = Literal["png", "cache"]
Kind = Literal["threads", "processes"]
Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Throughput:
    """One measurement.

    Attributes:
        source: ``png``, or ``cache`` for decoded copies on disk.
        kind: What reads: ``threads`` of one process, or ``processes`` of one thread each.
        workers: How many of them.
        images: Images read while the clock ran.
        seconds: How long it ran.
        cpu_seconds: Processor time of all workers in that time.
    """

    source: Source
    kind: Kind
    workers: int
    images: int
    seconds: float
    cpu_seconds: float

    @property
    def images_per_s(self) -> float:
        """Images per second, all workers together."""
        return self.images / self.seconds

    @property
    def images_per_cpu_s(self) -> float:
        """Images per second of processor time: what one worker does with a core of its own."""
        return self.images / self.cpu_seconds


def measure_throughput(
    *,
    workers: Sequence[int] = (1, 2),
    kinds: Sequence[Kind] = ("threads", "processes"),
    sources: Sequence[Source] = ("png", "cache"),
    seconds: float = 3.0,
    count: int = 8,
    repeats: int = 1,
    folder: Path | None = None,
) -> tuple[Throughput, ...]:
    """Measure each source with each kind and number of workers.

    Everything is read once before the clock starts, so files come from the system's memory, not
    from the disk.

    Args:
        workers: Numbers of workers.
        kinds: What the workers are.
        sources: Where samples come from.
        seconds: Least time of each measurement.
        count: Different images.
        repeats: How often everything is measured, in turns.
        folder: Where images and copies are written (some 11 MB an image); None takes a temporary
            folder that is removed afterwards.

    Returns:
        One entry per repeat and combination: repeats outermost, then sources, workers innermost.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="gsto-viz-") as fresh:
            return measure_throughput(
                workers=workers,
                kinds=kinds,
                sources=sources,
                seconds=seconds,
                count=count,
                repeats=repeats,
                folder=Path(fresh),
            )
    write_street_images(folder / "data", count)
    png = DATA_SETS["cityscapes"].open(folder / "data", purpose="train")
    data: dict[Source, Dataset] = {"png": png, "cache": PredecodedCache(png, folder / "cache")}
    return tuple(
        _measure(data[source], source, kind, number, seconds)
        for _ in range(repeats)
        for source in sources
        for kind in kinds
        for number in workers
    )


def write_street_images(root: Path, count: int) -> None:
    """Write procedural scenes as the ``train`` split of a Cityscapes folder."""
    scenes = SceneDataset(count=count, seed=0, size=IMAGE_SIZE, split="train")
    for index in range(count):
        sample = scenes[index]
        stem = f"scene_{index:06d}_000019"
        # Scenes carry the noise of every pixel; what a lens and a Bayer filter leave of it packs
        # into as many bytes as a frame of Cityscapes.
        smooth = cv2.GaussianBlur(sample.image, (0, 0), 0.85)
        write_png(root / "leftImg8bit" / "train" / "scene" / f"{stem}_leftImg8bit.png", smooth)
        table = np.zeros(256, dtype=np.uint8)
        table[: len(LABEL_IDS)] = LABEL_IDS
        labels = table[np.asarray(sample.labels)]
        write_png(root / "gtFine" / "train" / "scene" / f"{stem}_gtFine_labelIds.png", labels)


def read_batch(data: Dataset, augmentation: Augmentation, indices: Sequence[int]) -> Batch:
    """Read, augment and collate samples: (N, h, w, 3) and (N, h, w), uint8."""
    crops = []
    for index in indices:
        sample = data[index % len(data)]
        if sample.labels is None:
            raise ValueError(f"{sample.id} has no labels")
        rng = np.random.default_rng((0, index))
        crops.append(augmentation(sample.image, sample.labels, rng))
    images, labels = zip(*crops, strict=True)
    return np.stack(images), np.stack(labels)


def _measure(data: Dataset, source: Source, kind: Kind, workers: int, seconds: float) -> Throughput:
    """Keep the workers busy for a while and count."""
    augmentation = Augmentation(CROP, SCALES, scale_step=SCALE_STEP, window_first=True)
    with _pool(kind, workers) as run:
        work = functools.partial(_work, data, augmentation)
        # Warm up: starts processes, fills the cache and the system's memory.
        list(run(work, [(k, 0.0) for k in range(max(workers, -(-len(data) // BATCH)))]))
        begin = time.perf_counter()
        done = list(run(work, [(k, seconds) for k in range(workers)]))
        elapsed = time.perf_counter() - begin
    images, cpu = (sum(column) for column in zip(*done, strict=True))
    return Throughput(source, kind, workers, int(images), elapsed, cpu)


@contextmanager
def _pool(kind: Kind, workers: int) -> Iterator[Callable[..., Iterator[tuple[int, float]]]]:
    """Give a ``map`` over threads or processes; OpenCV's own threads are off meanwhile."""
    before = cv2.getNumThreads()
    pool: Executor
    if kind == "processes":
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
        )
    else:
        cv2.setNumThreads(1)
        pool = ThreadPoolExecutor(workers)
    try:
        with pool:
            yield pool.map
    finally:
        cv2.setNumThreads(before)


def _work(data: Dataset, augmentation: Augmentation, order: tuple[int, float]) -> tuple[int, float]:
    """Read batches for some seconds, at least one; return images and seconds of processor time."""
    worker, seconds = order
    begin, cpu = time.perf_counter(), time.thread_time()
    position = worker * BATCH
    images = 0
    while images == 0 or time.perf_counter() - begin < seconds:
        read_batch(data, augmentation, range(position, position + BATCH))
        position += BATCH
        images += BATCH
    return images, time.thread_time() - cpu
