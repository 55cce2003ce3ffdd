"""A data set decoded once onto disk, and a fast pass that finds what would stop a run.

Decoding a PNG takes most of the time of reading a training sample; a crop of an array that lies
decoded on a local disk takes a small part of it. An entry is found by the id of its sample and by
name, size and time of change of the files it was made from, so one that no longer fits its files is
never used; it is removed when the new one is written.
"""

import functools
import hashlib
import json
import os
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gsto_viz.data.base import AnnotatedFiles, WrappedDataset, files_under
from gsto_viz.errors import GstoVizError, UnreadableImageError
from gsto_viz.files import atomic_path
from gsto_viz.joints import joints_of
from gsto_viz.types import IGNORE, Dataset, FileDataset, Sample, SampleFiles

_Result = TypeVar("_Result")

FORM = 1
"""Number of the form of the entries; another one makes all of them unknown."""

KINDS = {"image": (np.uint8, 3), "labels": (np.uint8, 2), "instances": (np.int32, 2)}
"""Type and number of dimensions of the arrays of a sample."""


class PredecodedCache(WrappedDataset):
    """A data set that reads each sample from its files once and from then on from a folder.

    Samples are those of the data set underneath, bit by bit, but their arrays are read-only views
    of files. Entries appear whole or not at all, so any number of threads, processes and runs may
    share a folder. Nothing is ever evicted: an image takes 3 bytes per pixel, its labels 1, its
    instances 4 (a Cityscapes image without instances: 8 MiB).

    Args:
        base: A data set of files.
        folder: Where the arrays lie, best on a fast local disk. Several data sets may share it.

    Raises:
        GstoVizError: The data set is not made of files, so that nothing tells when a copy is old;
            or it has key points that are known only with its images.
    """

    def __init__(self, base: Dataset, folder: str | Path) -> None:
        if not isinstance(base, FileDataset):
            raise GstoVizError(
                f"{base.name} is not read from files, so it cannot be kept decoded; write it to a "
                "folder first, or go without a cache"
            )
        if joints_of(base) is not None and not isinstance(base, AnnotatedFiles):
            raise GstoVizError(
                f"the key points of {base.name} are not kept decoded; go without a cache"
            )
        super().__init__(base)
        self.base: FileDataset = base
        kind = Path(base.name.partition(":")[0]).name
        classes = json.dumps(base.classes.to_json(), sort_keys=True)
        digest = hashlib.sha256(f"{FORM} {classes}".encode()).hexdigest()
        self.folder = Path(folder) / f"{kind}-{digest[:12]}"

    @property
    def groups(self) -> tuple[str | None, ...]:
        """The groups of the data set underneath."""
        return self.base.groups

    def files(self, index: int) -> SampleFiles:
        """Return the files of the data set underneath."""
        return self.base.files(index)

    def __getitem__(self, index: int) -> Sample:
        """Open one sample's arrays; make them first where they are missing.

        Raises:
            GstoVizError: A file of the sample is missing or wrong, or an array is damaged or cannot
                be written.
            IndexError: No such sample.
        """
        paths = self._paths(index)
        arrays: dict[str, Any] = {part: _open(path) for part, path in paths.items()}
        if any(array is None for array in arrays.values()):
            sample = self.base[index]
            for part, path in paths.items():
                _write(path, getattr(sample, part))
            arrays = {part: _open(path) for part, path in paths.items()}
        # Persons are in memory: the files that they are read from were read with the data set.
        people = self.base.people(index) if isinstance(self.base, AnnotatedFiles) else None
        return Sample(self.ids[index], group=self.groups[index], people=people, **arrays)

    def _paths(self, index: int) -> dict[str, Path]:
        """Return where the arrays of one sample lie, by their names in ``Sample``."""
        files = self.base.files(index)
        sources: dict[str, tuple[Path, ...]] = {"image": (files.image,)}
        if files.labels is not None:
            sources["labels"] = (files.labels, *files.others)
        if files.instances is not None:
            sources["instances"] = (files.instances, *files.others)
        # An id may hold any character, and it must name a folder inside this one.
        name = urllib.parse.quote(self.ids[index], safe="").replace(".", "%2E")
        folder = self.folder / name
        return {part: folder / f"{part}-{_digest(paths)}.npy" for part, paths in sources.items()}

    def fill(self, *, threads: int = 1, quiet: bool = False) -> None:
        """Make the arrays of all samples that have none yet.

        Raises:
            GstoVizError: See ``__getitem__``; what is finished stays.
        """
        for _ in _each(self.__getitem__, len(self), threads, "decoding", quiet):
            pass


def _digest(paths: Iterable[Path]) -> str:
    """Return a digest of names, sizes and times of change: another one when a file changed.

    Raises:
        GstoVizError: A file is not there.
    """
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise UnreadableImageError(
                f"cannot read {path}: {error.strerror}; check the path and its rights"
            ) from error
        found.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def _open(path: Path) -> npt.NDArray[Any] | None:
    """Map an array into memory, read-only; None when there is none.

    Raises:
        GstoVizError: It cannot be opened, is cut, or is not an array of its kind.
    """
    dtype, dimensions = KINDS[path.name.partition("-")[0]]
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableImageError(f"cannot open {path}: {error.strerror}; check it") from error
    except (ValueError, EOFError) as error:
        raise _damaged(path) from error
    if array.dtype != dtype or array.ndim != dimensions:
        raise _damaged(path)
    # A plain view: the subclass that NumPy gives makes every operation on it slower.
    return np.asarray(array)


def _damaged(path: Path) -> UnreadableImageError:
    return UnreadableImageError(f"{path}, a decoded copy, is damaged; delete it, it is made again")


def _write(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array, whole or not at all, and remove those it replaces."""
    if path.exists():
        return
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)
    part = path.name.partition("-")[0]
    for old in path.parent.glob(f"{part}-*.npy"):
        if old != path:
            old.unlink(missing_ok=True)


@dataclass(frozen=True)
class Problem:
    """Why one sample cannot be used.

    Attributes:
        index: Place in the data set.
        id: Name in the data set.
        message: One sentence: file, what is wrong, what to do.
    """

    index: int
    id: str
    message: str


def check_dataset(
    data: Dataset, quiet: bool = False, *, threads: int | None = None
) -> tuple[Problem, ...]:
    """Read every sample: it opens, is annotated, its maps have its size, all labels are classes.

    Args:
        data: What to check; it is read from several threads.
        quiet: No progress bar.
        threads: How many; by default one per core.

    Returns:
        One entry per sample that cannot be used, in index order. Samples that are wrong for one and
        the same reason (a file that several share) are named once.
    """
    threads = threads or os.cpu_count() or 1
    work = functools.partial(_check, data)
    results = list(_each(work, len(data), threads, f"checking {data.name}", quiet))
    found = {one.message: one for one in reversed(results) if one is not None}
    return tuple(found.values())[::-1]


def _each(
    work: Callable[[int], _Result], count: int, threads: int, what: str, quiet: bool
) -> Iterator[_Result]:
    """Do the work of each index in threads, with a progress bar; the first error ends it."""
    bar = tqdm(total=count, desc=what, disable=quiet, leave=False)
    with ThreadPoolExecutor(threads) as pool, bar:
        futures = [pool.submit(work, index) for index in range(count)]
        try:
            for future in futures:
                yield future.result()
                bar.update()
        finally:
            for future in futures:
                future.cancel()


def raise_problems(data: Dataset, problems: Sequence[Problem], *, most: int = 3) -> None:
    """Raise an error if there are problems.

    Args:
        data: What was checked.
        problems: What ``check_dataset`` found.
        most: How many are named.

    Raises:
        GstoVizError: There are some; the message counts them and names the first.
    """
    if problems:
        named = "; ".join(problem.message for problem in problems[:most])
        more = f"; and {len(problems) - most} more" if len(problems) > most else ""
        raise GstoVizError(
            f"{len(problems)} of {len(data)} samples of {data.name} cannot be used: {named}{more}"
        )


def _check(data: Dataset, index: int) -> Problem | None:
    try:
        message = sample_problem(data[index], len(data.classes))
    except GstoVizError as error:
        message = str(error)
    return None if message is None else Problem(index, data.ids[index], message)


def sample_problem(sample: Sample, num_classes: int) -> str | None:
    """Return why a sample cannot be trained on or scored, in one sentence; None when it can."""
    labels = sample.labels
    if labels is None:
        return f"{sample.id} has no labels; annotate it or leave it out"
    for what, array in (("labels", labels), ("instances", sample.instances)):
        if array is not None and array.shape != sample.image.shape[:2]:
            height, width = sample.image.shape[:2]
            return (
                f"{sample.id}: the image is {height}x{width} and its {what} are "
                f"{'x'.join(map(str, array.shape))}; make them equal"
            )
    stray = labels[(labels >= num_classes) & (labels != IGNORE)]
    if stray.size:
        return (
            f"{sample.id} has label {stray.min()} and the class list ends at {num_classes - 1}; "
            f"correct the labels or use {IGNORE} for no class"
        )
    return None


def unread_names(data: Dataset) -> tuple[str, ...]:
    """Name the files that lie among the images of a data set and are not read."""
    if not isinstance(data, FileDataset):
        return ()
    images = [data.files(index).image for index in range(len(data))]
    # An id is a path below the folder of the images.
    tops = {path.parents[id_.count("/")] for id_, path in zip(data.ids, images, strict=True)}
    read = set(images)
    return tuple(
        str(path.relative_to(folder.parent))
        for folder in sorted(tops)
        for path in files_under(folder)
        if path not in read
    )
