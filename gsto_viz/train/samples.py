"""Training samples: which image comes when, how it is augmented, and loading ahead in threads.

Everything random about a sample follows from (seed, epoch, index), so that neither the number of
threads nor a restart in the middle of an epoch changes what the network sees.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gsto_viz.data.transforms import Augmentation
from gsto_viz.errors import GstoVizError
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.types import Dataset, Sample

CACHE_BYTES = 2 * 2**30
"""Decoded training images are kept in memory up to this size; beyond it they are read anew."""


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
        data: Annotated images.
        augmentation: What is done to each.
        batch_size: Images per batch; the last partial batch of an epoch is dropped.
        seed: Of order and augmentation.
        threads: Threads that prepare samples ahead.
    """

    def __init__(
        self,
        data: Dataset,
        augmentation: Augmentation,
        *,
        batch_size: int,
        seed: int,
        threads: int = 1,
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
        self._cache: dict[int, Sample] = {}
        self._cached_bytes = 0

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

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number ``start`` on, two batches ahead of use."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="samples") as pool:
            pending: deque[list[Future[tuple[Tensor, Tensor, str]]]] = deque()
            try:
                for indices in self.order(epoch)[start:]:
                    pending.append([pool.submit(self._load, epoch, i) for i in indices])
                    if len(pending) > 2:
                        yield _collate([future.result() for future in pending.popleft()])
                while pending:
                    yield _collate([future.result() for future in pending.popleft()])
            finally:
                for futures in pending:
                    for future in futures:
                        future.cancel()

    def _load(self, epoch: int, index: int) -> tuple[Tensor, Tensor, str]:
        sample = self._sample(index)
        if sample.labels is None:
            raise GstoVizError(f"{sample.id} has no labels; training needs annotated images")
        rng = np.random.default_rng((self.seed, epoch, index))
        image, labels = self.augmentation(sample.image, sample.labels, rng)
        return image_to_tensor(image), torch.from_numpy(labels.astype(np.int64)), sample.id

    def _sample(self, index: int) -> Sample:
        sample = self._cache.get(index)
        if sample is None:
            sample = self.data[index]
            if self._cached_bytes < CACHE_BYTES:
                self._cache[index] = sample
                self._cached_bytes += sample.image.nbytes
        return sample


def _collate(samples: Sequence[tuple[Tensor, Tensor, str]]) -> Batch:
    images, labels, ids = zip(*samples, strict=True)
    return Batch(torch.stack(images), torch.stack(labels), tuple(ids))
