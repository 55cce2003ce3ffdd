"""Training samples: which image comes when, how it is augmented, and loading ahead in threads.

Everything random about a sample follows from (seed, epoch, index), so that neither the number of
threads nor a restart in the middle of an epoch changes what the network sees.
"""

import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from gsto_viz.data.transforms import Augmentation
from gsto_viz.errors import GstoVizError
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.train.checks import Annotated, annotated
from gsto_viz.types import Dataset

CACHE_BYTES = 2 * 2**30
"""Decoded training images are kept in memory up to this size; beyond it they are read anew."""

AHEAD = 2
"""Batches that are loaded ahead of use."""


@dataclass(frozen=True)
class Batch:
    """One training step's input.

    Attributes:
        images: (N, 3, h, w) float32, normalised.
        labels: (N, h, w) int64, 0..K-1 or 255.
        ids: Sample ids, to name the culprits when a loss is not finite.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]


class TrainingSamples:
    """Batches of augmented samples in a reproducible order.

    Args:
        data: Annotated images; read from several threads.
        augmentation: What is done to each.
        batch_size: Images per batch; the last partial batch of an epoch is dropped.
        seed: Of order and augmentation.
        threads: Threads that read (or render) and augment samples ahead.
        cache_bytes: Decoded samples are kept in memory up to this size.

    Raises:
        GstoVizError: There are fewer images than a batch needs.
    """

    def __init__(
        self,
        data: Dataset,
        augmentation: Augmentation,
        *,
        batch_size: int,
        seed: int,
        threads: int = 1,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if len(data) < batch_size:
            raise GstoVizError(
                f"{data.name} has {len(data)} images, fewer than one batch of {batch_size}; "
                "lower batch_size or add images"
            )
        self.data = data
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self.threads = threads
        self._cache: dict[int, Annotated] = {}
        self._free_bytes = cache_bytes
        self._lock = threading.Lock()

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

    def batches(self, epoch: int, start: int = 0) -> Generator[Batch]:
        """Yield the batches of an epoch from number ``start`` on, loading two ahead of use.

        What goes wrong with a sample is raised when its batch is due, so that it does not depend on
        the number of threads; nothing is loaded after that.
        """
        with ThreadPoolExecutor(self.threads, thread_name_prefix="samples") as pool:
            pending: deque[list[Future[tuple[Tensor, Tensor, str]]]] = deque()
            try:
                for indices in self.order(epoch)[start:]:
                    pending.append([pool.submit(self._load, epoch, i) for i in indices])
                    if len(pending) > AHEAD:
                        yield _collate([future.result() for future in pending[0]])
                        pending.popleft()
                while pending:
                    yield _collate([future.result() for future in pending[0]])
                    pending.popleft()
            finally:
                for future in (f for futures in pending for f in futures):
                    future.cancel()

    def count_pixels(self, *, quiet: bool = True) -> npt.NDArray[np.int64]:
        """Count the labelled pixels of each class over all samples: (K,)."""
        counts = np.zeros(256, dtype=np.int64)
        bar = tqdm(range(len(self.data)), desc="class frequencies", disable=quiet, leave=False)
        for index in bar:
            counts += np.bincount(self.sample(index).labels.ravel(), minlength=256)
        return counts[: len(self.data.classes)]

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
        size = sample.image.nbytes + sample.labels.nbytes
        with self._lock:
            if index not in self._cache and size <= self._free_bytes:
                self._cache[index] = sample
                self._free_bytes -= size
        return sample

    def _load(self, epoch: int, index: int) -> tuple[Tensor, Tensor, str]:
        sample = self.sample(index)
        rng = np.random.default_rng((self.seed, epoch, index))
        image, labels = self.augmentation(sample.image, sample.labels, rng)
        return image_to_tensor(image), torch.from_numpy(labels.astype(np.int64)), sample.id


def _collate(samples: Sequence[tuple[Tensor, Tensor, str]]) -> Batch:
    images, labels, ids = zip(*samples, strict=True)
    return Batch(torch.stack(images), torch.stack(labels), tuple(ids))
