"""The region table beside the same numbers through ``skimage.measure.regionprops_table``."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from skimage.measure import regionprops_table

from gsto_viz.activity import FloatMap, grid_shape
from gsto_viz.bench.timing import Measurement, Say, interleaved, milliseconds, ratio
from gsto_viz.errors import GstoVizError
from gsto_viz.regions import prepare_regions, region_arrays, region_distance
from gsto_viz.regions.find import BAND_PX, measure_regions, number_regions

STRIDES = (4, 8, 16, 32)
TARGET_MS, TARGET_RATIO = 150.0, 3.0


def rectangles(height: int, width: int, regions: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Draw a label map of exactly ``regions`` 8-connected regions of all sizes, nothing ignored.

    Args:
        height: Pixels.
        width: Pixels.
        regions: At least 1.
        seed: Of the drawing.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), dtype=np.int64)
    for _ in range(100 * regions):
        missing = regions - int(number_regions(labels).max())
        if missing == 0:
            return labels
        before = labels.copy()
        for _ in range(max(1, missing // 4)):
            low, high = np.log(height / 60), np.log(height / 4)
            rows, columns = np.exp(rng.uniform(low, high, 2)).astype(int) + 1
            y, x = rng.integers(0, height), rng.integers(0, width)
            labels[y : y + rows, x : x + columns] = rng.integers(0, 19)
        if number_regions(labels).max() > regions:
            labels = before
    raise GstoVizError(f"could not draw {regions} regions at {height}x{width}; ask for fewer")


def our_means(
    labels: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], maps: list[npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray]:
    """Measure numbered regions and return their columns: distances, ranks, pooling and means."""
    regions = measure_regions(ids, labels, np.zeros_like(labels))
    return region_arrays(prepare_regions(labels, STRIDES, regions=regions), maps)


def their_means(
    ids: npt.NDArray[np.int32], maps: list[npt.NDArray[np.float32]]
) -> dict[str, FloatMap]:
    """Return the same means: ranked maps are blown up to pixels and averaged by scikit-image.

    One transform per region would take minutes, so this road, too, uses our distances.
    """
    deep = region_distance(ids) > BAND_PX
    keys, stack = [], []
    for r, activity in enumerate(maps):
        pooled = activity.astype(np.float64)
        for g in range(r, len(maps)):
            if g > r:
                pooled = _halved(pooled)
            if g in (r, r + 1, len(maps) - 1):
                ranks = (rankdata(pooled).reshape(pooled.shape) - 0.5) / pooled.size
                rows, columns = (np.arange(n) // STRIDES[g] for n in ids.shape)
                keys.append((r, g))
                stack.append(ranks[np.ix_(rows, columns)])
    intensity = np.stack(stack, axis=2)
    means = {}
    for part, mask in (("whole", ids > 0), ("core", deep), ("band", (ids > 0) & ~deep)):
        table = regionprops_table(
            np.where(mask, ids, 0), intensity, properties=("label", "area", "intensity_mean")
        )
        for k, (r, g) in enumerate(keys):
            column = np.full(int(ids.max()), np.nan)
            column[table["label"] - 1] = table[f"intensity_mean-{k}"]
            means[f"{part} {r} {g}"] = column
    return means


def _halved(activity: FloatMap) -> FloatMap:
    """Average 2x2 cells of a map of even size."""
    height, width = activity.shape
    return activity.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def bench_region_table(quick: bool, say: Say) -> list[Measurement]:
    """Time the table of one image on one core, in turns with the peer."""
    (height, width), count = ((256, 512), 60) if quick else ((1024, 2048), 300)
    labels = rectangles(height, width, count)
    ids = number_regions(labels)
    rng = np.random.default_rng(1)
    maps = [rng.random(grid_shape(height, width, s)).astype(np.float32) for s in STRIDES]
    what = f"{height}x{width}, {count} regions, 4 branches; without connected components"
    _check_same(our_means(labels, ids, maps), their_means(ids, maps))
    say(f"region table: {what}")
    with one_thread():
        times = interleaved(
            {
                "ours": lambda: our_means(labels, ids, maps),
                "theirs": lambda: their_means(ids, maps),
            },
            repeats=3 if quick else 7,
        )
    return [
        milliseconds("region_table", times["ours"], what, target=None if quick else TARGET_MS),
        milliseconds("region_table_peer", times["theirs"], "the same numbers, regionprops_table"),
        ratio(
            "region_table_speedup",
            times["theirs"],
            times["ours"],
            "regionprops_table on upsampled maps over ours",
            target=None if quick else TARGET_RATIO,
            bound="at least",
        ),
    ]


def _check_same(ours: dict[str, npt.NDArray], theirs: dict[str, FloatMap]) -> None:
    """Refuse to time two roads that do not arrive at the same numbers."""
    for part in ("whole", "core", "band"):
        for r in range(len(STRIDES)):
            a, b = ours[f"z_{part}_{r}"], theirs[f"{part} {r} {r}"]
            if not np.allclose(a, b, rtol=0, atol=1e-9, equal_nan=True):
                raise GstoVizError(f"z_{part}_{r} differs between the two roads; report this")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenCV use one thread; NumPy and SciPy use one here anyway."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
