"""Reading and augmenting training samples, in threads or in processes of their own.

Everything random about a sample follows from (seed, epoch, index), so that it does not matter who
reads it. Nothing here needs torch: a loading process starts in a fraction of a second.

Not ``torch.utils.data.DataLoader``: it has no threads, so that without processes nothing is read
ahead and with them every one keeps a cache of its own; its processes load torch, and the loss of
one is raised in the middle of whatever the run is doing instead of where its batch is due.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data import paste_rare, sample_problem
from gsto_viz.errors import GstoVizError
from gsto_viz.types import Dataset, Person, Sample

CACHE_BYTES = 2 * 2**30
"""Decoded training images are kept in memory up to this size; beyond it they are read anew."""

PATIENCE_S = 10.0
"""Seconds that loading processes have to end by themselves: one may be reading a large image."""


class Annotated(NamedTuple):
    """An image and what its network should say of it.

    Attributes:
        image: (h, w, 3) uint8.
        target: Labels (h, w) uint8, 0..K-1 or 255; of a pose network joints (J, 3) float32, and
            before augmentation the ``Person``.
    """

    image: npt.NDArray[np.uint8]
    target: Any


def label_map(sample: Sample, data: Dataset) -> npt.NDArray[np.uint8]:
    """Return the labels of a sample.

    Raises:
        GstoVizError: It has no labels, labels of another size, or one outside the class list.
    """
    problem = sample_problem(sample, len(data.classes))
    if problem is not None:
        raise GstoVizError(problem)
    assert sample.labels is not None
    return sample.labels


def the_person(sample: Sample, data: Dataset) -> Person:
    """Return the one person of a sample of a ``PersonDataset``."""
    assert sample.people is not None
    (person,) = sample.people
    return person


class SampleReader:
    """Reads, checks, keeps and augments samples; usable from several threads.

    A copy that is sent to another process begins with nothing kept.

    Args:
        data: Annotated images; read from several threads.
        augmentation: What is done to each: called with the image, its annotation and a generator,
            it returns an image and the target, new and contiguous.
        seed: Of the augmentation.
        paste: Probability with which ``paste_rare`` adds to a crop from that of another sample,
            any of the data with equal probability.
        cache_bytes: Decoded samples are kept in memory up to this size.
        annotation: Takes what is augmented from a sample, or refuses it.
    """

    def __init__(
        self,
        data: Dataset,
        augmentation: Callable[..., tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]],
        seed: int,
        paste: float = 0.0,
        cache_bytes: int = CACHE_BYTES,
        annotation: Callable[[Sample, Dataset], Any] = label_map,
    ) -> None:
        self.data = data
        self.augmentation = augmentation
        self.seed = seed
        self.paste = paste
        self.annotation = annotation
        self._cache: dict[int, Annotated] = {}
        self._free_bytes = cache_bytes
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        words = self.data, self.augmentation, self.seed, self.paste, self._free_bytes
        return SampleReader, (*words, self.annotation)

    def sample(self, index: int) -> Annotated:
        """Read one sample with its annotation, or take it from the cache."""
        with self._lock:
            cached = self._cache.get(index)
        if cached is not None:
            return cached
        sample = self.data[index]
        read = Annotated(sample.image, self.annotation(sample, self.data))
        if isinstance(read.image.base, np.memmap):
            # It lies decoded on disk already, and to keep it would keep its file open.
            return read
        size = read.image.nbytes + getattr(read.target, "nbytes", 0)
        with self._lock:
            if index not in self._cache and size <= self._free_bytes:
                self._cache[index] = read
                self._free_bytes -= size
        return read

    def crop(self, epoch: int, index: int) -> Annotated:
        """Read one sample and augment it as is due in this epoch."""
        rng = np.random.default_rng((self.seed, epoch, index))
        crop = self._augmented(index, rng)
        if self.paste and rng.random() < self.paste:
            other = self._augmented(int(rng.integers(len(self.data))), rng)
            crop = Annotated(*paste_rare(crop, other))
        return crop

    def _augmented(self, index: int, rng: np.random.Generator) -> Annotated:
        sample = self.sample(index)
        return Annotated(*self.augmentation(sample.image, sample.target, rng))

    def pixels(self, index: int) -> npt.NDArray[np.int64]:
        """Count the pixels of each label of one sample: (256,)."""
        return np.bincount(self.sample(index).target.ravel(), minlength=256)


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
            data, augmentation, seed, paste, free, annotation = self.reader.__reduce__()[1]
            share = free // self.processes
            each = SampleReader(data, augmentation, seed, paste, share, annotation)
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
