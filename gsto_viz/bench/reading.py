"""How fast scenes are drawn, and how fast training samples come off the disk.

Samples are crops of 512 x 1024 of Cityscapes-sized PNGs: procedural street scenes of 2048 x 1024
pixels, smoothed as by a camera's lens so that their PNGs have about the size of Cityscapes' (2.3
MB). A worker process reads a sample, augments it as the Cityscapes recipes do and puts it into a
batch of uint8, which is what a loader hands on: an accelerator normalises faster than it receives
floats.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.bench.timing import Measurement, Say, Times, interleaved, rate, ratio
from gsto_viz.data import DATA_SETS, LABEL_IDS, Augmentation, PredecodedCache, write_png
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.types import Dataset

SCENE_SIZE = (256, 512)
IMAGE_SIZE, CROP = (1024, 2048), (512, 1024)
SCALES, SCALE_STEP = (0.5, 2.1), 0.1
BATCH = 4
WORKERS = (1, 2)

PNG_TARGET = 15.0
"""Images per second of one worker process, from PNG."""
WORKERS_TARGET = 1.8
"""Two workers beside one, where there are two cores: near to twice."""
CACHE_TARGET = 5.0
"""The cache beside PNG, one worker each."""

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def bench_scenes(quick: bool, say: Say) -> list[Measurement]:
    """Draw scenes with their labels and instances, in this process alone."""
    images = 2 if quick else 20
    data = SceneDataset(images, 0, SCENE_SIZE, "eval")
    what = f"{SCENE_SIZE[0]}x{SCENE_SIZE[1]} with labels and instances, one process"
    say(f"scenes: {images} of {what}")

    def draw() -> None:
        for index in range(images):
            data[index]

    times = interleaved({"draw": draw}, repeats=1 if quick else 3)
    return [rate("scenes", times["draw"], what, count=images)]


def bench_reading(quick: bool, say: Say) -> list[Measurement]:
    """Read, augment and collate crops of 512x1024 from street images of 2048x1024."""
    what = "512x1024 crops of 2048x1024 images"
    say(f"reading: {what}, from PNG and from the cache, by 1 and by 2 processes")
    seconds, count, repeats = (0.2, 2, 1) if quick else (4.0, 8, 3)
    times = measure_throughput(seconds, count, repeats)
    png, cache = times["png", 1], times["cache", 1]
    one = f"{what}, one worker process"
    # Times are per image: the ratio of rates is that of times the other way round.
    speedup = partial(ratio, bound="at least")
    return [
        rate("reading_png", png, one, target=None if quick else PNG_TARGET),
        rate("reading_cache", cache, one),
        speedup(
            "reading_two_over_one",
            png,
            times["png", 2],
            "2 worker processes / 1, PNG",
            target=None if quick else WORKERS_TARGET,
        ),
        speedup(
            "reading_cache_over_png",
            png,
            cache,
            "decoded cache / PNG",
            target=None if quick else CACHE_TARGET,
        ),
    ]


def measure_throughput(seconds: float, count: int, repeats: int) -> dict[tuple[str, int], Times]:
    """Measure PNGs and their decoded copies with 1 and with 2 worker processes, in turns.

    Everything is read once before the clock starts, so files come from the system's memory, not
    from the disk.

    Args:
        seconds: Least time of each measurement.
        count: Different images.
        repeats: How often everything is measured.

    Returns:
        By source (``png``, ``cache``) and workers, seconds per image. Processor time is that of one
        worker with a core of its own, so that the machine's other work drops out.
    """
    with tempfile.TemporaryDirectory(prefix="gsto-viz-") as fresh:
        folder = Path(fresh)
        write_street_images(folder / "data", count)
        png = DATA_SETS["cityscapes"].open(folder / "data", purpose="train")
        data: dict[str, Dataset] = {"png": png, "cache": PredecodedCache(png, folder / "cache")}
        keys = list(product(data, WORKERS))
        found = [{k: _measure(data[k[0]], k[1], seconds) for k in keys} for _ in range(repeats)]
    pairs = {key: tuple(zip(*(one[key] for one in found), strict=True)) for key in keys}
    return {key: Times(*columns) for key, columns in pairs.items()}


def _measure(data: Dataset, workers: int, seconds: float) -> tuple[float, float]:
    """Keep the workers busy for a while; return seconds per image by the clock and by processor."""
    augmentation = Augmentation(CROP, SCALES, scale_step=SCALE_STEP, window_first=True)
    work = partial(_work, data, augmentation)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        # Warm up: starts processes, fills the cache and the system's memory.
        list(pool.map(work, [(k, 0.0) for k in range(max(workers, -(-len(data) // BATCH)))]))
        begin = time.perf_counter()
        done = list(pool.map(work, [(k, seconds) for k in range(workers)]))
        elapsed = time.perf_counter() - begin
    images, cpu = (sum(column) for column in zip(*done, strict=True))
    return elapsed / images, cpu / images / workers


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
