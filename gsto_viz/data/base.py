"""What all data sets of files share: images, maps beside them, and data sets on data sets.

A data set's own module knows its folders and its classes; reading is the same for all.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.data.reader import read_image, read_instance_map, read_mapped_labels
from gsto_viz.errors import GstoVizError
from gsto_viz.types import ClassList, Dataset, Sample, SampleFiles

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAP_SUFFIXES = (".png",)


def list_stems(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """List the files of a folder by stem (the name without its suffix), in sorted order.

    Hidden files (such as ``._x.png``) and files with other suffixes are left out.

    Raises:
        GstoVizError: The folder cannot be read, a name is not UTF-8 (ids are written as text), or
            two files share a stem.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot list folder {folder}: {reason}; check the path") from error
    stems: dict[str, Path] = {}
    for path in paths:
        if path.name.startswith(".") or path.suffix.lower() not in suffixes:
            continue
        if not is_utf8(path.name):
            raise GstoVizError(
                f"{folder} holds {path.name!r}, a name that is not UTF-8; rename the file"
            )
        if path.stem in stems:
            raise GstoVizError(
                f"{stems[path.stem]} and {path.name} have the same name but for the suffix; "
                "remove or rename one"
            )
        stems[path.stem] = path
    return dict(sorted(stems.items()))


def is_utf8(name: str) -> bool:
    """Say whether a name can be written as text; bytes that are not stand in it as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def pair_up(images: dict[str, Path], maps: Path, what: str) -> dict[str, Path]:
    """Find the map of every image; maps without an image are left out.

    Args:
        images: Image files by stem.
        maps: Folder of the maps.
        what: What a map is called in messages, e.g. ``label map``.

    Raises:
        GstoVizError: An image has no map; the message names the first and how many there are.
    """
    found = list_stems(maps, MAP_SUFFIXES)
    missing = [stem for stem in images if stem not in found]
    if missing:
        raise GstoVizError(
            f"{len(missing)} of {len(images)} images have no {what}, first {images[missing[0]]}; "
            f"add {maps / missing[0]}.png or remove the image"
        )
    return {stem: found[stem] for stem in images}


def check_same_size(
    image: npt.NDArray[Any], image_path: Path, other: npt.NDArray[Any], other_path: Path
) -> None:
    """Refuse a map (H, W) that does not have the size of its image (H, W, 3).

    Raises:
        GstoVizError: The sizes differ; the message gives both, as width x height.
    """
    if image.shape[:2] != other.shape[:2]:
        height, width = image.shape[:2]
        raise GstoVizError(
            f"{image_path} is {width} x {height} pixels but {other_path} is "
            f"{other.shape[1]} x {other.shape[0]}; both must have the same size"
        )


def at(index: int, length: int) -> int:
    """Turn an index, which may count from the end, into 0..length-1.

    Raises:
        IndexError: Outside the data set (this ends a plain ``for`` loop, so it is no user error).
    """
    position = operator.index(index)
    if not -length <= position < length:
        raise IndexError(f"sample {position} of a data set with {length} samples")
    return position % length


@dataclass(frozen=True)
class Entry:
    """Where one sample lies.

    Attributes:
        id: Name that is unique within the data set.
        image: PNG or JPEG.
        labels: PNG with one channel; None when not annotated.
        instances: PNG with one channel; None when not annotated.
        group: Images of one group are not independent of each other.
    """

    id: str
    image: Path
    labels: Path | None = None
    instances: Path | None = None
    group: str | None = None


class AnnotatedFiles:
    """A data set whose samples are read from files when asked for; nothing is kept in memory.

    Args:
        name: The SPEC that makes it.
        classes: The classes of its label maps.
        entries: Its samples, in index order.
        table: What stored numbers mean, (65536,) as made by ``label_table``.
        expected: What stored numbers must be in, for messages: ``the classes 0 to 10``.
        others: Files that ``table`` comes from.
    """

    def __init__(
        self,
        name: str,
        classes: ClassList,
        entries: Iterable[Entry],
        table: npt.NDArray[np.int16],
        expected: str,
        others: tuple[Path, ...] = (),
    ) -> None:
        self._name = name
        self._classes = classes
        self._entries = tuple(entries)
        self._ids = tuple(entry.id for entry in self._entries)
        self._table = table
        self._expected = expected
        self._others = others

    @property
    def name(self) -> str:
        """The SPEC that makes this data set."""
        return self._name

    @property
    def classes(self) -> ClassList:
        """The classes of its label maps."""
        return self._classes

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids in index order."""
        return self._ids

    @property
    def groups(self) -> tuple[str | None, ...]:
        """Per sample the group of images that are not independent of each other, or None."""
        return tuple(entry.group for entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def files(self, index: int) -> SampleFiles:
        """Return the files of one sample.

        Raises:
            IndexError: No such sample.
        """
        entry = self._entries[at(index, len(self))]
        return SampleFiles(entry.image, entry.labels, entry.instances, self._others)

    def __getitem__(self, index: int) -> Sample:
        """Read one image with its maps.

        Raises:
            GstoVizError: An unreadable file, a label that is no class, or sizes that differ.
            IndexError: No such sample.
        """
        entry = self._entries[at(index, len(self))]
        image = read_image(entry.image)
        labels = instances = None
        if entry.labels is not None:
            labels = self._read_labels(entry.labels)
            check_same_size(image, entry.image, labels, entry.labels)
        if entry.instances is not None:
            instances = self._read_instances(entry.instances)
            check_same_size(image, entry.image, instances, entry.instances)
        return Sample(entry.id, image, labels, instances, entry.group)

    def _read_labels(self, path: Path) -> npt.NDArray[np.uint8]:
        return read_mapped_labels(path, self._table, self._expected)

    def _read_instances(self, path: Path) -> npt.NDArray[np.int32]:
        return read_instance_map(path)


def check_split(data: str, split: str, splits: tuple[str, ...]) -> None:
    """Refuse a split that a data set does not have.

    Raises:
        GstoVizError: The message lists the splits.
    """
    if split not in splits:
        raise GstoVizError(f"{data} has no split '{split}'; choose one of {', '.join(splits)}")


def check_folders(folders: Iterable[Path], tree: str) -> None:
    """Refuse a place where a folder of a data set is missing.

    Args:
        folders: What must be there, outermost first.
        tree: How such a data set lies on disk, in words: ``a LIP folder holds ...``.

    Raises:
        GstoVizError: The message names the first missing folder, and the tree.
    """
    for folder in folders:
        if not folder.is_dir():
            raise GstoVizError(f"no folder {folder}; {tree}")


class WrappedDataset:
    """Name, classes, ids and length of the data set underneath; what it gives is up to others.

    Args:
        base: The data set underneath.
    """

    def __init__(self, base: Dataset) -> None:
        self.base = base

    @property
    def name(self) -> str:
        """The SPEC of the data set underneath: nothing here is part of a SPEC."""
        return self.base.name

    @property
    def classes(self) -> ClassList:
        """The classes of the data set underneath."""
        return self.base.classes

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the data set underneath."""
        return self.base.ids

    def __len__(self) -> int:
        return len(self.base)


class KeptDataset(WrappedDataset):
    """A small data set whose samples stay in memory once they were read or rendered."""

    def __init__(self, base: Dataset) -> None:
        super().__init__(base)
        self._samples: dict[int, Sample] = {}

    def __getitem__(self, index: int) -> Sample:
        """Return one sample, read at most once."""
        if index not in self._samples:
            self._samples[index] = self.base[index]
        return self._samples[index]
