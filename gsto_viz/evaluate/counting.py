"""Counts of one image after another, with work done ahead in other threads."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gsto_viz.data import with_objects
from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError, RefusedImageError, UnreadableImageError
from gsto_viz.evaluate.protocols import (
    SINGLE,
    Precision,
    Protocol,
    class_evidence,
    labels_of,
)
from gsto_viz.models.outputs import MAIN, Wanted, misfit
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
from gsto_viz.types import CROWD, Dataset, Sample

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
        skip_unreadable: Whether an image that cannot be read, or that the network does not take
            because of its size, is left out and named, or an error.
        workers: Threads that read and count beside the network; 0 does all in turn.
        output: Which of several outputs is scored, by name or number.
    """

    protocol: Protocol = SINGLE
    precision: Precision = "fp32"
    outcome: bool = False
    skip_unreadable: bool = False
    workers: int = 0
    output: str = MAIN


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
    images: Rows = field(default_factory=lambda: _no_rows(3))
    regions: Rows = field(default_factory=lambda: _no_rows(2 + len(COUNTS)))
    classes: Rows = field(default_factory=lambda: _no_rows(2 + len(COUNTS)))
    instances: Rows = field(default_factory=lambda: _no_rows(5))
    groups: dict[int, str] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)

    def added_over(self, world: World) -> "Tally":
        """Return the counts of all processes, in the order of the images, in each of them."""
        texts = world.gather_bytes(json.dumps([self.groups, self.skipped]).encode())
        said = [json.loads(text) for text in texts]
        skipped = {int(k): v for _, reasons in said for k, v in reasons.items()}
        return Tally(
            confusion=world.sum(torch.from_numpy(self.confusion)).numpy(),
            images=_all_rows(world, self.images),
            regions=_all_rows(world, self.regions),
            classes=_all_rows(world, self.classes),
            instances=_all_rows(world, self.instances),
            groups={int(k): v for groups, _ in said for k, v in groups.items()},
            skipped={k: skipped[k] for k in sorted(skipped)},
        )


def _no_rows(columns: int) -> Rows:
    return np.zeros((0, columns), dtype=np.int64)


def _all_rows(world: World, rows: Rows) -> Rows:
    """Return the rows of all processes, ordered by image; an image's rows are of one process."""
    parts = world.gather_bytes(np.ascontiguousarray(rows).tobytes())
    merged = np.concatenate(
        [np.frombuffer(part, dtype=np.int64).reshape(-1, rows.shape[1]) for part in parts]
    )
    return merged[np.argsort(merged[:, 0], kind="stable")]


class _Sum:
    """Counts of images as they come in."""

    def __init__(self, num_classes: int) -> None:
        self.confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
        self.images: list[list[int]] = []
        self.groups: dict[int, str] = {}
        self.parts: dict[str, list[Rows]] = {"regions": [], "classes": [], "instances": []}

    def add(self, one: "_Counted") -> None:
        """Add the counts of one image."""
        self.images.append([one.index, one.confusion is not None, "instances" in one.rows])
        if one.group is not None:
            self.groups[one.index] = one.group
        if one.confusion is not None:
            self.confusion += one.confusion
        for name, rows in one.rows.items():
            self.parts[name].append(np.insert(rows, 0, one.index, axis=1))

    def tally(self, skipped: dict[int, str]) -> Tally:
        """Return all that was added."""
        parts = {name: np.concatenate(rows) for name, rows in self.parts.items() if rows}
        images = np.array(self.images, dtype=np.int64).reshape(-1, 3)
        return Tally(self.confusion, images, groups=self.groups, skipped=skipped, **parts)


@dataclass(frozen=True)
class _Predicted:
    """One image and what the network says of it."""

    index: int
    sample: Sample
    labels: Labels


@dataclass(frozen=True)
class _Counted:
    """Counts of one image.

    Attributes:
        index: Of the image.
        group: Of the image.
        confusion: None without labels.
        rows: ``regions``, ``classes`` and ``instances`` as in ``Tally``, without the index; those
            that it is annotated with and that were asked for.
    """

    index: int
    group: str | None
    confusion: Rows | None = None
    rows: dict[str, Rows] = field(default_factory=dict)


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
            small, a label is not a class, or logits are not finite; the message names the image.
    """
    data = with_objects(data)
    counter, total = _Counter(data, options, sink), _Sum(len(data.classes))
    skipped: dict[int, str] = {}
    with eval_mode(model), thread_pool(options.workers) as pool:
        read = map_ahead(pool, counter.read, indices, depth=options.workers)
        predicted = _predictions(model, data, options, read, skipped, progress)
        for counted in map_ahead(pool, counter.count, predicted, depth=options.workers):
            total.add(counted)
    return total.tally(skipped)


def _predictions(
    model: nn.Module,
    data: Dataset,
    options: Options,
    read: Iterable[tuple[int, Sample | UnreadableImageError]],
    skipped: dict[int, str],
    progress: Callable[[], object] | None,
) -> Iterator[_Predicted]:
    """Predict what could be read, one image after the other."""
    for index, sample in read:
        if isinstance(sample, UnreadableImageError):
            skipped[index] = str(sample)
        else:
            try:
                labels = _predict(model, data, sample, options)
            except RefusedImageError as error:
                if not options.skip_unreadable:
                    raise
                skipped[index] = str(error)
            else:
                yield _Predicted(index, sample, labels)
        if progress is not None:
            progress()


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
            wanted=Wanted(len(data.classes), options.output),
        )
    except GstoVizError as error:
        raise type(error)(f"{sample.id}: {error}") from error
    if len(evidence) != len(data.classes):
        raise GstoVizError(misfit(len(evidence), len(data.classes), data.name))
    return labels_of(evidence)


@dataclass(frozen=True)
class _Counter:
    """What is done with an image beside the network, in any thread."""

    data: Dataset
    options: Options
    sink: Sink | None

    def read(self, index: int) -> tuple[int, Sample | UnreadableImageError]:
        """Read an image; return why it cannot be read where such images are skipped."""
        try:
            sample = self.data[index]
        except UnreadableImageError as error:
            if not self.options.skip_unreadable:
                raise
            return index, error
        if sample.labels is None and self.sink is None:
            raise GstoVizError(f"{sample.id} has no labels; scores need annotated images")
        return index, sample

    def count(self, predicted: _Predicted) -> _Counted:
        """Hand on and count one prediction."""
        index, sample, guess = predicted.index, predicted.sample, predicted.labels
        if self.sink is not None:
            self.sink(sample, guess)
        if sample.labels is None:
            return _Counted(index, sample.group)
        names = self.data.classes.names
        rows = {}
        if sample.instances is not None and is_cityscapes(names):
            rows["instances"] = instance_counts(sample.labels, sample.instances, guess)
        if self.options.outcome:
            rows |= _outcome_rows(sample, guess, boundary_ratio(names))
        confusion = confusion_matrix(sample.labels, guess, len(names))
        return _Counted(index, sample.group, confusion, rows)


def boundary_ratio(names: Sequence[str]) -> float:
    """Return the width of a boundary as a share of the image diagonal, by the data's classes."""
    return CITYSCAPES_RATIO if is_cityscapes(names) else DILATION_RATIO


def _outcome_rows(sample: Sample, guess: Labels, ratio: float) -> dict[str, Rows]:
    """Count by region and by class: number of the region or class, and the six ``COUNTS``.

    Crowds count by class alone: they have no size.
    """
    assert sample.labels is not None
    found = find_regions(sample.labels, sample.instances)
    outcome = outcome_counts(found.ids, found.class_id, guess, image=sample.id, ratio=ratio)
    return {
        "regions": np.column_stack(list(outcome.region_columns().values()))[
            found.instance_id != CROWD
        ],
        "classes": np.column_stack(list(outcome.class_columns().values())),
    }
