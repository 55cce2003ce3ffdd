"""Training batches in a reproducible order, read and augmented ahead of use.

The order follows from (seed, epoch) and each sample from (seed, epoch, index), so that neither the
number of readers, nor that of processes, nor a restart in the middle of an epoch changes what the
network sees.

Everything random about a sample follows from (seed, epoch, index), so that it does not matter who
reads it. Nothing here needs torch: a loading process starts in a fraction of a second.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from gsto_viz.data import Augmentation
from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError
from gsto_viz.train.folder import Annotated, annotated
from gsto_viz.types import Dataset

CACHE_BYTES = 2 * 2**30
"""Decoded training images are kept in memory up to this size; beyond it they are read anew."""


PATIENCE_S = 10.0
"""Seconds that loading processes have to end by themselves: one may be reading a large image."""


class Crop(NamedTuple):
    """An augmented sample: (h, w, 3) and (h, w), uint8, labels 0..K-1 or 255."""

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


class SampleReader:
    """Reads, checks, keeps and augments samples; usable from several threads.

    A copy that is sent to another process begins with nothing kept.

    Args:
        data: Annotated images; read from several threads.
        augmentation: What is done to each.
        seed: Of the augmentation.
        cache_bytes: Decoded samples are kept in memory up to this size.
    """

    def __init__(
        self,
        data: Dataset,
        augmentation: Augmentation,
        *,
        seed: int,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.data = data
        self.augmentation = augmentation
        self.seed = seed
        self._cache: dict[int, Annotated] = {}
        self._free_bytes = cache_bytes
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reader, (self.data, self.augmentation, self.seed, self._free_bytes)

    def sample(self, index: int) -> Annotated:
        """Read one sample, or take it from the cache.

        Raises:
            GstoVizError: It has no labels, or one that is outside the class list.
        """
        with self._lock:
            cached = self._cache.get(index)
        if cached is not None:
            return cached
        sample = annotated(self.data[index], len(self.data.classes))
        if isinstance(sample.image.base, np.memmap):
            # It lies decoded on disk already, and to keep it would keep its file open.
            return sample
        size = sample.image.nbytes + sample.labels.nbytes
        with self._lock:
            if index not in self._cache and size <= self._free_bytes:
                self._cache[index] = sample
                self._free_bytes -= size
        return sample

    def crop(self, epoch: int, index: int) -> Crop:
        """Read one sample and augment it as is due in this epoch."""
        sample = self.sample(index)
        rng = np.random.default_rng((self.seed, epoch, index))
        return Crop(*self.augmentation(sample.image, sample.labels, rng))

    def pixels(self, index: int) -> npt.NDArray[np.int64]:
        """Count the pixels of each label of one sample: (256,)."""
        return np.bincount(self.sample(index).labels.ravel(), minlength=256)


def _reader(data: Dataset, augmentation: Augmentation, seed: int, cache_bytes: int) -> SampleReader:
    return SampleReader(data, augmentation, seed=seed, cache_bytes=cache_bytes)


class Readers:
    """Threads or processes that call a ``SampleReader``.

    Processes are started once and live until ``close``; threads live for one ``open`` block.

    Args:
        reader: What to call.
        threads: Threads, where there are no processes.
        processes: 0 for threads. Each process keeps its share of the cache.
    """

    def __init__(self, reader: SampleReader, *, threads: int = 1, processes: int = 0) -> None:
        self.reader = reader
        self.threads, self.processes = threads, processes
        self.workers = processes or threads
        self._pool: ProcessPoolExecutor | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[..., "Future[Any]"]]:
        """Give ``submit(method, *words)``: it calls a method of the reader and promises its result.

        Promises that were not redeemed are cancelled or waited for at the end of the block.
        """
        # Weak, or every crop of an epoch would stay in memory with its promise.
        promised: weakref.WeakSet[Future[Any]] = weakref.WeakSet()

        def submit(method: str, *words: int) -> "Future[Any]":
            try:
                future = self._submit(pool, method, words)
            except BrokenProcessPool as error:
                raise _ended() from error
            promised.add(future)
            return future

        with contextlib.ExitStack() as stack:
            pool: Executor
            if self.processes:
                pool = self._process_pool()
            else:
                pool = stack.enter_context(
                    ThreadPoolExecutor(self.threads, thread_name_prefix="samples")
                )
            try:
                yield submit
            finally:
                for future in list(promised):
                    future.cancel()

    def _submit(self, pool: Executor, method: str, words: tuple[int, ...]) -> "Future[Any]":
        if self.processes:
            return pool.submit(_call, method, *words)
        return pool.submit(getattr(self.reader, method), *words)

    def _process_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            data, augmentation, seed, free = self.reader.__reduce__()[1]
            each = SampleReader(data, augmentation, seed=seed, cache_bytes=free // self.processes)
            self._pool = ProcessPoolExecutor(
                self.processes,
                # A copy of this process would bring its threads' locks and its GPU with it.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start,
                initargs=(each,),
            )
        return self._pool

    def close(self) -> None:
        """End the processes; work that nobody waits for is dropped.

        Of a pool that lost a process the others can wait for its lock for ever, deaf to the
        executor's SIGTERM; they are killed, at once where that is known.
        """
        pool, self._pool = self._pool, None
        if pool is None:
            return
        left = list(pool._processes.values())
        killer = threading.Timer(0.0 if pool._broken else PATIENCE_S, _kill, (left,))
        killer.start()
        pool.shutdown(cancel_futures=True)
        killer.cancel()


def _kill(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.kill()


def result(future: "Future[Any]") -> Any:
    """Return what a promise gives.

    Raises:
        GstoVizError: What the reader raised, or a loading process is gone.
    """
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise _ended() from error


def _ended() -> GstoVizError:
    return GstoVizError(
        "a loading process has ended, for want of memory or because it was killed; continue with "
        "--resume, and lower loader_processes if memory is short"
    )


_OWN: list[SampleReader] = []
"""The reader of a loading process."""


def _start(reader: SampleReader) -> None:
    """Make this process a loading process: its parent alone decides when it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that is killed says no goodbye.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    cv2.setNumThreads(1)
    _OWN[:] = [reader]


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _call(method: str, *words: int) -> Any:
    return getattr(_OWN[0], method)(*words)


AHEAD = 2
"""Batches that are loaded ahead of use, at least."""


@dataclass(frozen=True)
class Batch:
    """One training step's input, as far as this process computes it.

    Attributes:
        images: (N, h, w, 3) uint8 sRGB.
        labels: (N, h, w) uint8, 0..K-1 or 255.
        ids: Ids of all samples of the step, in all processes, to name them when a loss is not
            finite.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]

    def parts(self, count: int) -> list[tuple[Tensor, Tensor]]:
        """Cut images and labels into ``count`` parts of equal size."""
        return list(zip(self.images.chunk(count), self.labels.chunk(count), strict=True))


class TrainingSamples:
    """Batches of augmented samples in a reproducible order.

    A batch is cut into parts, one after the other, and each part into the shares of the processes;
    so a process that computes its parts one by one sees, with the others, the batch in order.

    Args:
        readers: What reads and augments the samples.
        batch_size: Images per batch; the last partial batch of an epoch is dropped.
        seed: Of the order.
        world: The processes that share each batch.
        parts: Parts in which each process computes its share.

    Raises:
        GstoVizError: There are fewer images than a batch needs, or a batch cannot be shared.
    """

    def __init__(
        self,
        readers: Readers,
        *,
        batch_size: int,
        seed: int,
        world: World = ALONE,
        parts: int = 1,
    ) -> None:
        self.readers = readers
        self.data = readers.reader.data
        if len(self.data) < batch_size:
            raise GstoVizError(
                f"{self.data.name} has {len(self.data)} images, fewer than one batch of "
                f"{batch_size}; lower batch_size or add images"
            )
        if batch_size % (parts * world.size):
            raise GstoVizError(
                f"a batch of {batch_size} images cannot be shared by {world.size} processes in "
                f"{parts} parts each; make batch_size a multiple of {parts * world.size}"
            )
        self.batch_size = batch_size
        self.seed = seed
        self.world, self.parts = world, parts

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return len(self.data) // self.batch_size

    def order(self, epoch: int) -> list[list[int]]:
        """Return the image indices of each batch of an epoch (a permutation, cut into batches)."""
        rng = np.random.default_rng((self.seed, epoch))
        indices = rng.permutation(len(self.data)).tolist()
        size = self.batch_size
        return [indices[i * size : (i + 1) * size] for i in range(self.batches_per_epoch)]

    def share(self, indices: Sequence[int]) -> list[int]:
        """Return what this process computes of a batch: its share of each part, part by part."""
        own = self.batch_size // (self.parts * self.world.size)
        starts = [(part * self.world.size + self.world.rank) * own for part in range(self.parts)]
        return [index for start in starts for index in indices[start : start + own]]

    def batches(self, epoch: int, start: int = 0) -> Generator[Batch]:
        """Yield the batches of an epoch from number ``start`` on, loading some ahead of use.

        What goes wrong with a sample is raised when its batch is due, so that it does not depend on
        the number of readers; nothing is loaded after that.
        """
        own = self.batch_size // self.world.size
        ahead = max(AHEAD, -(-2 * self.readers.workers // own))
        with self.readers.open() as submit:
            pending: deque[tuple[list[int], list[Future[Any]]]] = deque()
            for indices in self.order(epoch)[start:]:
                pending.append((indices, [submit("crop", epoch, i) for i in self.share(indices)]))
                if len(pending) > ahead:
                    yield self._collate(*pending[0])
                    pending.popleft()
            while pending:
                yield self._collate(*pending[0])
                pending.popleft()

    def count_pixels(self, *, quiet: bool = True) -> npt.NDArray[np.int64]:
        """Count the labelled pixels of each class over all samples: (K,)."""
        counts = np.zeros(256, dtype=np.int64)
        with self.world.together(), self.readers.open() as submit:
            pending = deque(submit("pixels", i) for i in self.world.share(len(self.data)))
            bar = tqdm(total=len(pending), desc="class frequencies", disable=quiet, leave=False)
            with bar:
                while pending:
                    counts += result(pending.popleft())
                    bar.update()
        total = self.world.sum(torch.from_numpy(counts)).numpy()
        return np.asarray(total[: len(self.data.classes)])

    def _collate(self, indices: list[int], futures: "list[Future[Any]]") -> Batch:
        crops: list[Crop] = [result(future) for future in futures]
        images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*crops, strict=True))
        return Batch(images, labels, tuple(self.data.ids[i] for i in indices))
