"""Training batches in a reproducible order, loaded ahead of use.

The order follows from (seed, epoch) and each sample from (seed, epoch, index), so that neither the
number of readers, nor that of processes, nor a restart in the middle of an epoch changes what the
network sees.
"""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError
from gsto_viz.train.reading import Annotated, Readers, result

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
        crops: list[Annotated] = [result(future) for future in futures]
        images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*crops, strict=True))
        return Batch(images, labels, tuple(self.data.ids[i] for i in indices))
