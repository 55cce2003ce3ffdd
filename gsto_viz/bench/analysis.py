"""``analyze`` beside the bare forward passes of the same networks on the same images.

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
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

from gsto_viz.bench.timing import Measurement, Say, interleaved, milliseconds, ratio
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.evaluate import predict
from gsto_viz.models import build_model
from gsto_viz.report.chunks import TABLES, merge, write_chunk
from gsto_viz.report.passes import run_chunk
from gsto_viz.report.settings import CHUNK_IMAGES, Settings, fingerprint
from gsto_viz.report.subjects import Subject, make_subject
from gsto_viz.report.summary import model_summary
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import ClassList, Dataset, Sample

PAIR = {"A": "hrnetv2-w18-small-v2", "B": "gsto-hrnet-w18-small-v2"}
TARGET_RATIO = 1.15
SUMMARY_IMAGES = 64
"""Statistics are timed for so many images."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Samples in memory, as a data set, so that no decoding is timed."""

    name: str
    classes: ClassList
    samples: tuple[Sample, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids."""
        return tuple(sample.id for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def random_pair(data: Dataset, pair: dict[str, str]) -> list[Subject]:
    """Build networks with random weights for the classes of ``data``, not yet calibrated."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [
            make_subject(key, build_model(name, num_classes=len(data.classes)).eval(), data)
            for key, name in pair.items()
        ]


def settings_of(data: Dataset, subjects: list[Subject]) -> Settings:
    """Return the settings of a plain analysis, without null models."""
    return Settings(
        data=data.name,
        size=None,
        images=len(data),
        ids_sha256=fingerprint(tuple(data.ids)),
        calibration=data.name,
        models={subject.key: subject.record() for subject in subjects},
    )


def bench_analysis(quick: bool, say: Say) -> list[Measurement]:
    """Time analysis, predictions and bare passes in turns; decoding is left out of all.

    Random weights predict almost every pixel wrongly, and every wrong pixel asks for the nearest
    region of its class: counting the outcome takes a multiple of what trained networks need.
    """
    size, images = ((96, 128), 2) if quick else ((360, 480), CHUNK_IMAGES)
    scenes = SceneDataset(images, 0, size, "eval")
    data = Decoded(scenes.name, scenes.classes, tuple(scenes[i] for i in range(images)))
    subjects = random_pair(data, PAIR)
    pictures = [sample.image for sample in data.samples]
    what = (
        f"{' and '.join(PAIR.values())} (random weights), {size[0]}x{size[1]}, all branches and "
        f"gates, {torch.get_num_threads()} threads; per image"
    )
    say(f"analysis: {images} images, {what}")
    calibration = interleaved(
        {"calibrate": lambda: [subject.calibrated(pictures) for subject in subjects]},
        repeats=1 if quick else 3,
    )["calibrate"]
    subjects = [subject.calibrated(pictures) for subject in subjects]
    with tempfile.TemporaryDirectory(prefix="gsto-viz-bench-") as folder, ExitStack() as stack:
        for subject in subjects:
            stack.enter_context(eval_mode(subject.model))
        times = interleaved(
            {
                "bare": bare_passes(data, subjects),
                "predict": predictions(data, subjects),
                "analysis": analysis(data, subjects, Path(folder)),
            },
            repeats=1 if quick else 5,
        )
        copies = 1 if quick else SUMMARY_IMAGES // images
        ending = interleaved(
            {"statistics": statistics(data, subjects, Path(folder), copies)},
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


def bare_passes(data: Decoded, subjects: list[Subject]) -> Callable[[], None]:
    """Return work that runs every network over every image, normalised before; nothing is kept."""
    batches = [
        [subject.tensor(sample.image)[None] for sample in data.samples] for subject in subjects
    ]

    @torch.inference_mode()
    def work() -> None:
        for subject, images in zip(subjects, batches, strict=True):
            for image in images:
                subject.model(image)

    return work


def predictions(data: Decoded, subjects: list[Subject]) -> Callable[[], None]:
    """Return work that labels every image by every network; nothing is kept."""

    def work() -> None:
        for subject in subjects:
            for sample in data.samples:
                predict(subject.model, sample.image)

    return work


def analysis(data: Dataset, subjects: list[Subject], folder: Path) -> Callable[[], None]:
    """Return work that analyzes every image as ``analyze`` does, and writes what it found."""
    settings = settings_of(data, subjects)

    def work() -> None:
        chunk = run_chunk(subjects, {}, data, range(len(data)), settings, {})
        write_chunk(folder, 0, chunk.tables())

    return work


def statistics(
    data: Dataset, subjects: list[Subject], folder: Path, copies: int
) -> Callable[[], None]:
    """Return work that joins chunks and computes the summary of every network, as ``analyze`` does.

    Args:
        data: The images.
        subjects: The networks, calibrated.
        folder: Where the chunks are written.
        copies: How often the images are there, under names of their own.
    """
    settings = settings_of(data, subjects)
    tables = run_chunk(subjects, {}, data, range(len(data)), settings, {}).tables()
    for number in range(copies):
        write_chunk(folder, number, {name: _renamed(t, number) for name, t in tables.items()})
    names = [f"{image}-{number}" for number in range(copies) for image in data.ids]
    clusters = dict(zip(names, names, strict=True))

    def work() -> None:
        for name in TABLES:
            merge(folder, name, copies)
        for one in subjects:
            classes = len(data.classes)
            model_summary(folder, one.key, settings, clusters, classes, one.transmission)

    return work


def _renamed(table: pa.Table, number: int) -> pa.Table:
    """Give the images of a table names of their own."""
    names = pa.array([f"{name}-{number}" for name in table["image"].to_pylist()], pa.large_string())
    return table.set_column(table.column_names.index("image"), "image", names)
