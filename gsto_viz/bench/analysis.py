"""``analyze``, the region table and Shapley values beside what they are compared with.

All three pieces of work see one image at a time, from memory, in inference mode, with one thread
count, and take turns:

- *bare*: the network alone, on an image that is normalised before; its logits stay small. Nothing
  that gives numbers can do less, so this is what analysis is held against.
- *predict*: what somebody does who only wants labels: normalise, run, resize the logits to the
  image, take the greatest.
- *analysis*: what ``analyze`` does between calibration and statistics: the same prediction, maps of
  all branches and gates, every table of the images, written as one chunk of an analyze folder.

Calibration comes once per analysis and statistics once at its end, whatever the number of images;
they have their own lines.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from scipy.stats import rankdata
from skimage.measure import regionprops_table

from gsto_viz.activity import FloatMap, grid_shape
from gsto_viz.attribution import region_shapley, zero_baseline
from gsto_viz.bench.timing import Measurement, Say, interleaved, milliseconds, ratio
from gsto_viz.data.base import KeptDataset
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import predict
from gsto_viz.network import Network, open_network
from gsto_viz.regions import prepare_regions, region_arrays, region_distance
from gsto_viz.regions.find import measure_regions, number_regions
from gsto_viz.report.estimates import model_summary
from gsto_viz.report.folder import CHUNK_IMAGES, Settings, fingerprint
from gsto_viz.report.passes import run_chunk
from gsto_viz.report.run import open_for
from gsto_viz.report.summary import Report
from gsto_viz.report.tables import merge, write_chunk
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import BAND_PX, Dataset

Picture = npt.NDArray[np.uint8]

PAIR = {"A": "hrnetv2-w18-small-v2", "B": "gsto-hrnet-w18-small-v2"}
TARGET_RATIO = 1.15
STRIDES = (4, 8, 16, 32)
SUMMARY_IMAGES = 64
"""Statistics are timed for so many images."""


def random_pair(data: Dataset, pair: dict[str, str]) -> list[Network]:
    """Build networks with random weights for the classes of ``data``, not yet calibrated."""
    classes = len(data.classes)
    return [
        open_for(data, key, open_network(name, code=True, num_classes=classes))
        for key, name in pair.items()
    ]


def settings_of(data: Dataset, networks: list[Network]) -> Settings:
    """Return the settings of a plain analysis, without null models."""
    return Settings(
        data=data.name,
        size=None,
        images=len(data),
        ids_sha256=fingerprint(tuple(data.ids)),
        calibration=data.name,
        models={network.key: network.record() for network in networks},
    )


def bench_analysis(quick: bool, say: Say) -> list[Measurement]:
    """Time analysis, predictions and bare passes in turns; decoding is left out of all.

    Random weights predict almost every pixel wrongly, and every wrong pixel asks for the nearest
    region of its class: counting the outcome takes a multiple of what trained networks need.
    """
    size, images = ((96, 128), 2) if quick else ((360, 480), CHUNK_IMAGES)
    # In memory, so that no decoding is timed.
    data = KeptDataset(SceneDataset(images, 0, size, "eval"))
    networks = random_pair(data, PAIR)
    pictures = [data[index].image for index in range(images)]
    what = (
        f"{' and '.join(PAIR.values())} (random weights), {size[0]}x{size[1]}, all branches and "
        f"gates, {torch.get_num_threads()} threads; per image"
    )
    say(f"analysis: {images} images, {what}")
    calibration = interleaved(
        {"calibrate": lambda: [network.calibrated(pictures) for network in networks]},
        repeats=1 if quick else 3,
    )["calibrate"]
    networks = [network.calibrated(pictures) for network in networks]
    with tempfile.TemporaryDirectory(prefix="gsto-viz-bench-") as folder, ExitStack() as stack:
        for network in networks:
            stack.enter_context(eval_mode(network.module))
        times = interleaved(
            {
                "bare": bare_passes(pictures, networks),
                "predict": predictions(pictures, networks),
                "analysis": analysis(data, networks, Path(folder)),
            },
            repeats=1 if quick else 5,
        )
        copies = 1 if quick else SUMMARY_IMAGES // images
        ending = interleaved(
            {"statistics": statistics(data, networks, Path(folder), copies)},
            repeats=1 if quick else 3,
        )["statistics"]
    bare, predict, analyzed = (times[name] for name in ("bare", "predict", "analysis"))
    return [
        milliseconds("analysis_bare", bare, f"bare forward passes: {what}", per=images),
        milliseconds("analysis_predict", predict, "the same images labelled", per=images),
        milliseconds("analysis", analyzed, "the same images analyzed", per=images),
        ratio(
            "analysis_over_bare",
            analyzed,
            bare,
            "analysis over bare passes; decoding, calibration and statistics left out",
            target=None if quick else TARGET_RATIO,
        ),
        ratio("analysis_over_predict", analyzed, predict, "analysis over labelling"),
        milliseconds(
            "analysis_calibration", calibration, "calibration of both, once for 64", per=images
        ),
        milliseconds(
            "analysis_statistics",
            ending,
            f"joining the chunks and all statistics of both, once, for {copies * images} images",
            per=copies * images,
        ),
    ]


def bare_passes(pictures: list[Picture], networks: list[Network]) -> Callable[[], None]:
    """Return work that runs every network over every image, normalised before; nothing is kept."""
    batches = [[network.tensor(picture)[None] for picture in pictures] for network in networks]

    @torch.inference_mode()
    def work() -> None:
        for network, images in zip(networks, batches, strict=True):
            for image in images:
                network.module(image)

    return work


def predictions(pictures: list[Picture], networks: list[Network]) -> Callable[[], None]:
    """Return work that labels every image by every network; nothing is kept."""

    def work() -> None:
        for network in networks:
            for picture in pictures:
                predict(network.module, picture)

    return work


def analysis(data: Dataset, networks: list[Network], folder: Path) -> Callable[[], None]:
    """Return work that analyzes every image as ``analyze`` does, and writes what it found."""
    settings = settings_of(data, networks)

    def work() -> None:
        chunk = run_chunk(networks, {}, data, range(len(data)), settings, {})
        write_chunk(folder, 0, chunk.tables())

    return work


def statistics(
    data: Dataset, networks: list[Network], folder: Path, copies: int
) -> Callable[[], None]:
    """Return work that joins chunks and computes the summary of every network, as ``analyze`` does.

    Args:
        data: The images.
        networks: The networks, calibrated.
        folder: Where the chunks are written.
        copies: How often the images are there, under names of their own.
    """
    settings = settings_of(data, networks)
    tables = run_chunk(networks, {}, data, range(len(data)), settings, {}).tables()
    for number in range(copies):
        write_chunk(folder, number, {name: _renamed(t, number) for name, t in tables.items()})

    def work() -> None:
        merge(folder, copies)
        report = Report(folder, settings.to_json(), {}, data.classes, {})
        for one in networks:
            model_summary(report, one.key, one.transmission)

    return work


def _renamed(table: pa.Table, number: int) -> pa.Table:
    """Give the images of a table names of their own."""
    names = pa.array([f"{name}-{number}" for name in table["image"].to_pylist()], pa.large_string())
    return table.set_column(table.column_names.index("image"), "image", names)


TARGET_MS, REGION_TABLE_RATIO = 150.0, 3.0


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
            target=None if quick else REGION_TABLE_RATIO,
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


SHAPLEY_RATIO = 2.5


def bench_attribution(quick: bool, say: Say) -> list[Measurement]:
    """Time ``region_shapley``, its own forward pass included, and bare passes in turns.

    Cutting the annotation into regions is left out: an analysis has done so already.
    """
    size, count, repeats = ((96, 128), 12, 2) if quick else ((360, 480), 100, 7)
    labels = rectangles(*size, count)
    regions = prepare_regions(labels, STRIDES)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    what = (
        f"random weights, {size[0]}x{size[1]}, {len(regions)} regions together, "
        f"{torch.get_num_threads()} threads"
    )
    say(f"attribution: {' and '.join(PAIR.values())}, {what}")
    found = []
    for short, name in zip(("plain", "gated"), PAIR.values(), strict=True):
        model = open_network(name, code=True, num_classes=int(labels.max()) + 1).module
        works = {
            "explain": partial(region_shapley, model, image, regions, zero_baseline(model)),
            "forward": partial(model, image),
        }
        with eval_mode(model), torch.no_grad():
            times = interleaved(works, repeats)
        text = f"exact Shapley values of the branches, {name}, {what}"
        target = None if quick else SHAPLEY_RATIO
        over = f"{text}; beside a bare forward pass"
        found += [
            milliseconds(f"shapley_{short}", times["explain"], text),
            ratio(
                f"shapley_{short}_over_bare",
                times["explain"],
                times["forward"],
                over,
                target=target,
            ),
        ]
    return found
