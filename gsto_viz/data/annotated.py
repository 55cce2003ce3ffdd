"""What all data sets of files share: images, and their label and instance maps beside them.

A data set's own module knows its folders and its classes; reading is the same for all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gsto_viz.data.pairs import at, check_same_size
from gsto_viz.data.reader import read_image, read_instance_map, read_mapped_labels
from gsto_viz.errors import GstoVizError
from gsto_viz.types import ClassList, Sample, SampleFiles


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
