"""Counts of one image after another, with work done ahead in other threads."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError, UnreadableImageError
from gsto_viz.evaluate.protocols import SINGLE, Precision, Protocol, class_evidence, labels_of
from gsto_viz.regions import find_regions
from gsto_viz.stats.nulls import DILATION_RATIO
from gsto_viz.stats.outcome import (
    COUNTS,
    confusion_matrix,
    instance_counts,
    is_cityscapes,
    outcome_counts,
)
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import Dataset, Sample

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def thread_pool(workers: int) -> Iterator[ThreadPoolExecutor | None]:
    """Give a pool of threads, or None for no workers; what is left undone at the end is dropped."""
    if workers == 0:
        yield None
        return
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def map_ahead(
    pool: ThreadPoolExecutor | None, function: Callable[[T], R], items: Iterable[T], *, depth: int
) -> Iterator[R]:
    """Yield ``function(item)`` in the order of the items, with ``depth`` items under way.

    Args:
        pool: Where it runs; None runs it here, one item when it is asked for.
        function: Must be safe to call from several threads.
        items: Taken in the calling thread.
        depth: How many items are taken ahead of the one that is yielded.
    """
    if pool is None:
        yield from map(function, items)
        return
    under_way: deque[Future[R]] = deque()
    for item in items:
        under_way.append(pool.submit(function, item))
        if len(under_way) > depth:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


Rows = npt.NDArray[np.int64]
Labels = npt.NDArray[np.uint8]
Sink = Callable[[Sample, Labels], object]

CITYSCAPES_RATIO = 0.005
"""Width of a boundary in Cityscapes as a share of the diagonal (Cheng et al., CVPR 2021)."""


@dataclass(frozen=True)
class Options:
    """How images are scored.

    Attributes:
        protocol: What is done with an image.
        precision: What the network computes in where it may (autocast).
        outcome: Whether scores by object size and at boundaries are wanted as well.
        skip_unreadable: Whether an image that cannot be read is left out and named, or an error.
        workers: Threads that read and count beside the network; 0 does all in turn.
    """

    protocol: Protocol = SINGLE
    precision: Precision = "fp32"
    outcome: bool = False
    skip_unreadable: bool = False
    workers: int = 0


WIDTHS: Mapping[str, int] = {
    "images": 3,
    "regions": 2 + len(COUNTS),
    "classes": 2 + len(COUNTS),
    "instances": 5,
}
"""Columns of the rows of a tally."""


def _no_rows(columns: int) -> Rows:
    return np.zeros((0, columns), dtype=np.int64)


@dataclass
class Tally:
    """Counts of any number of images; those of disjoint sets of images add up.

    Attributes:
        confusion: (K, K) pixels, true x predicted.
        images: Indices of the images that were predicted, and whether each has labels and an
            instance map: (n, 3).
        regions: (n, 8): image index, region number, and the six ``COUNTS``.
        classes: (n, 8): image index, class, and the six ``COUNTS``.
        instances: (n, 5): image index, and ``cityscapes.INSTANCE_COLUMNS``.
        groups: Group of the images that have one, by index.
        skipped: Why an image was left out, by index.
    """

    confusion: Rows
    images: Rows = field(default_factory=lambda: _no_rows(WIDTHS["images"]))
    regions: Rows = field(default_factory=lambda: _no_rows(WIDTHS["regions"]))
    classes: Rows = field(default_factory=lambda: _no_rows(WIDTHS["classes"]))
    instances: Rows = field(default_factory=lambda: _no_rows(WIDTHS["instances"]))
    groups: dict[int, str] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)

    def added_over(self, world: World) -> "Tally":
        """Return the counts of all processes, in the order of the images, in each of them."""
        texts = world.gather_bytes(json.dumps([self.groups, self.skipped]).encode())
        said = [json.loads(text) for text in texts]
        skipped = {int(k): v for _, reasons in said for k, v in reasons.items()}
        return Tally(
            confusion=world.sum(torch.from_numpy(self.confusion)).numpy(),
            groups={int(k): v for groups, _ in said for k, v in groups.items()},
            skipped={k: skipped[k] for k in sorted(skipped)},
            **{name: _all_rows(world, getattr(self, name)) for name in WIDTHS},
        )


def _all_rows(world: World, rows: Rows) -> Rows:
    """Return the rows of all processes, ordered by image; an image's rows are of one process."""
    parts = world.gather_bytes(np.ascontiguousarray(rows).tobytes())
    merged = np.concatenate(
        [np.frombuffer(part, dtype=np.int64).reshape(-1, rows.shape[1]) for part in parts]
    )
    return merged[np.argsort(merged[:, 0], kind="stable")]


def _added(parts: Iterable[Tally], num_classes: int) -> Tally:
    """Add up tallies of disjoint sets of images as they come in."""
    total = Tally(np.zeros((num_classes, num_classes), dtype=np.int64))
    rows = {name: [_no_rows(columns)] for name, columns in WIDTHS.items()}
    for one in parts:
        total.confusion += one.confusion
        total.groups |= one.groups
        total.skipped |= one.skipped
        for name, own in rows.items():
            own.append(getattr(one, name))
    for name, own in rows.items():
        setattr(total, name, np.concatenate(own))
    return total


Read = tuple[int, Sample | UnreadableImageError]
"""Index of an image, and the image or why it cannot be read."""


def count_images(
    model: nn.Module,
    data: Dataset,
    options: Options,
    *,
    indices: Iterable[int],
    sink: Sink | None = None,
    progress: Callable[[], object] | None = None,
) -> Tally:
    """Predict images and count; the network is in evaluation mode meanwhile.

    Args:
        model: A network with as many classes as the data set.
        data: Annotated images, of any sizes.
        options: How images are scored.
        indices: Images to use.
        sink: Called with every sample and its predicted labels, from any thread; with it, images
            without labels are welcome.
        progress: Called after every image.

    Raises:
        GstoVizError: An image cannot be read (unless such are skipped), has no labels or is too
            small, a label is no class, or logits are not finite; the message names the image.
    """

    def predicted(samples: Iterable[Read]) -> Iterator[tuple[Read, Labels | None]]:
        for index, sample in samples:
            if isinstance(sample, Sample):
                yield (index, sample), _predict(model, data, sample, options)
            else:
                yield (index, sample), None
            if progress is not None:
                progress()

    def count(given: tuple[Read, Labels | None]) -> Tally:
        (index, sample), guess = given
        if guess is None or isinstance(sample, UnreadableImageError):
            return Tally(nothing, skipped={index: str(sample)})
        if sink is not None:
            sink(sample, guess)
        return _counted(index, sample, guess, data.classes.names, outcome=options.outcome)

    nothing = np.zeros((len(data.classes), len(data.classes)), dtype=np.int64)
    with eval_mode(model), thread_pool(options.workers) as pool:
        read = partial(_read, data, options, needs_labels=sink is None)
        samples = map_ahead(pool, read, indices, depth=options.workers)
        counted = map_ahead(pool, count, predicted(samples), depth=options.workers)
        return _added(counted, len(data.classes))


def _read(data: Dataset, options: Options, index: int, *, needs_labels: bool) -> Read:
    """Read an image; return why it cannot be read where such images are skipped."""
    try:
        sample = data[index]
    except UnreadableImageError as error:
        if not options.skip_unreadable:
            raise
        return index, error
    if sample.labels is None and needs_labels:
        raise GstoVizError(f"{sample.id} has no labels; scores need annotated images")
    return index, sample


def _predict(model: nn.Module, data: Dataset, sample: Sample, options: Options) -> Labels:
    """Return the labels of a sample at label size; what goes wrong is said with the sample's id."""
    labels = sample.labels
    try:
        evidence = class_evidence(
            model,
            sample.image,
            options.protocol,
            size=None if labels is None else (labels.shape[0], labels.shape[1]),
            flip_order=data.classes.flip_order,
            precision=options.precision,
        )
    except GstoVizError as error:
        raise type(error)(f"{sample.id}: {error}") from error
    if len(evidence) != len(data.classes):
        raise GstoVizError(
            f"the network has {len(evidence)} classes and {data.name} has {len(data.classes)}; "
            "take data of the classes that it was trained on"
        )
    return labels_of(evidence)


def _counted(
    index: int, sample: Sample, guess: Labels, names: Sequence[str], *, outcome: bool
) -> Tally:
    """Count one prediction: what the image is annotated with, and what was asked for."""
    labels, instances = sample.labels, sample.instances
    rows: dict[str, Any] = {}
    if labels is None:
        confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    else:
        confusion = confusion_matrix(labels, guess, len(names))
        if instances is not None and is_cityscapes(names):
            rows["instances"] = instance_counts(labels, instances, guess)
        if outcome:
            found, ratio = find_regions(labels, instances), boundary_ratio(names)
            counts = outcome_counts(found.ids, found.class_id, guess, image=sample.id, ratio=ratio)
            rows["regions"] = np.column_stack(list(counts.region_columns().values()))
            rows["classes"] = np.column_stack(list(counts.class_columns().values()))
    return Tally(
        confusion,
        np.array([[index, labels is not None, "instances" in rows]], dtype=np.int64),
        groups={} if sample.group is None else {index: sample.group},
        **{name: np.insert(one, 0, index, axis=1) for name, one in rows.items()},
    )


def boundary_ratio(names: Sequence[str]) -> float:
    """Return the width of a boundary as a share of the image diagonal, by the data's classes."""
    return CITYSCAPES_RATIO if is_cityscapes(names) else DILATION_RATIO
