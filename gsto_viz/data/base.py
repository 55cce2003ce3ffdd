"""What all data sets of files share: listing, reading, and data sets on data sets.

A row of the register (``DataSet``) knows a data set's folders and classes; reading is the same for
all.
"""

import operator
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gsto_viz.data.classes import shipped_classes
from gsto_viz.data.coding import Coding
from gsto_viz.data.image_file import Numbers
from gsto_viz.data.reader import (
    looks_empty,
    read_header,
    read_image,
    read_instance_map,
    read_numbers,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import Joints, joints_of
from gsto_viz.types import (
    CROWD,
    IGNORE,
    ClassList,
    Dataset,
    FileDataset,
    Person,
    Sample,
    SampleFiles,
)
from gsto_viz.words import counted

Purpose = Literal["train", "eval"]

ReadInstances = Callable[[Path], npt.NDArray[np.int32] | None]

MAP_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
IMAGE_SUFFIXES = (*MAP_SUFFIXES, ".jpg", ".jpeg", ".webp", ".ppm", ".pgm")


def list_stems(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """List the files under a folder by stem (path in it without the suffix), in sorted order.

    Hidden files (such as ``._x.png``) and files with other suffixes are left out.

    Raises:
        GstoVizError: The folder cannot be read, a name is not UTF-8 (ids are written as text), or
            two files share a stem.
    """
    stems: dict[str, Path] = {}
    for path in files_under(folder):
        if path.suffix.lower() not in suffixes:
            continue
        name = path.relative_to(folder)
        if not is_utf8(str(name)):
            raise GstoVizError(
                f"{folder} holds {str(name)!r}, a name that is not UTF-8; rename the file"
            )
        stem = _stem(path, folder)
        if stem in stems:
            raise GstoVizError(
                f"{stems[stem]} and {path.name} have the same name but for the suffix; "
                "remove or rename one"
            )
        stems[stem] = path
    return dict(sorted(stems.items()))


def _stem(path: Path, folder: Path) -> str:
    """Return the path of a file in a folder without its suffix.

    Systems write accents in two ways, and an image and its map may come from two systems.
    """
    name = path.relative_to(folder).with_suffix("").as_posix()
    return unicodedata.normalize("NFC", name)


def files_under(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """List the files under a folder, those of its sub-folders too, but for hidden ones.

    Args:
        folder: Where to begin.
        above: Folders that a link may not lead back to, beside those that hold this one.

    Raises:
        GstoVizError: A folder cannot be read.
    """
    try:
        here = folder.resolve()
        paths = [] if here in above else sorted(folder.iterdir())
        above = above or frozenset(here.parents)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot list folder {folder}: {reason}; check the path") from error
    for path in paths:
        if path.name.startswith(".") or path.name in _SYSTEM:
            continue
        if path.is_dir():
            yield from files_under(path, above | {here})
        else:
            yield path


_SYSTEM = ("Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir")
"""What operating systems leave in folders, beside hidden files."""


def is_utf8(name: str) -> bool:
    """Return whether a name is UTF-8 text; bytes that are not stand in it as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def pair_up(images: dict[str, Path], maps: Path, what: str, suffix: str = "") -> dict[str, Path]:
    """Find the map of every image; maps without an image are left out.

    Args:
        images: Image files by stem.
        maps: Folder of the maps.
        what: What a map is called in messages, e.g. ``label map``.
        suffix: What the stems of maps have behind those of images.

    Raises:
        GstoVizError: An image has no map; the message names the first and how many there are.
    """
    found = list_stems(maps, MAP_SUFFIXES)
    missing = [stem for stem in images if stem + suffix not in found]
    if missing:
        first = missing[0] + suffix
        unread = next((p for p in files_under(maps) if _stem(p, maps) == first), None)
        if unread is not None:
            raise GstoVizError(
                f"{len(missing)} of {len(images)} images have no {what} of a format that keeps "
                f"numbers, first {unread}; save them as one-channel PNG"
            )
        name = first.rpartition("/")[2]
        moved = next((one for one in found if one.rpartition("/")[2] == name), None)
        if moved is not None:
            raise GstoVizError(
                f"{len(missing)} of {len(images)} images have no {what}, first "
                f"{images[missing[0]]}, and {found[moved]} lies in another sub-folder; maps lie in "
                "the same sub-folders as their images"
            )
        other = next((one for one in found if one.startswith(missing[0]) and one != first), None)
        raise MissingMapError(
            f"{len(missing)} of {len(images)} images have no {what}, first {images[missing[0]]}; "
            f"add {maps / first}.png or remove the image",
            found_suffix=None if other is None else other.removeprefix(missing[0]),
        )
    return {stem: found[stem + suffix] for stem in images}


class MissingMapError(GstoVizError):
    """An image has no map; ``found_suffix`` is the end of a name that may be that of its map."""

    def __init__(self, message: str, found_suffix: str | None = None) -> None:
        super().__init__(message)
        self.found_suffix = found_suffix


def check_same_size(
    size: tuple[int, ...], image_path: Path, other: npt.NDArray[Any], other_path: Path
) -> None:
    """Refuse a map (H, W) that does not have the size (height, width) of its image.

    Raises:
        GstoVizError: The sizes differ; the message gives both, as width x height.
    """
    if size != other.shape[:2]:
        height, width = size
        exif = ""
        if size[::-1] == other.shape[:2]:
            for name, path in (("map", other_path), ("image", image_path)):
                if read_header(path).orientation > 4:
                    exif = f" (EXIF turns the {name} by 90 degrees; save it upright)"
        raise GstoVizError(
            f"{image_path} is {width} x {height} pixels but {other_path} is "
            f"{other.shape[1]} x {other.shape[0]}; both must have the same size{exif}"
        )


def at(index: int, length: int) -> int:
    """Turn an index, which may count from the end, into 0..length-1.

    Raises:
        IndexError: Outside the data set; not a user's error, because it ends a plain ``for`` loop.
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
        coding: What the numbers of its label map mean; None: the same as in the others.
    """

    id: str
    image: Path
    labels: Path | None = None
    instances: Path | None = None
    group: str | None = None
    coding: Coding | None = None


class Annotation(NamedTuple):
    """What is known of one sample without decoding its image.

    Attributes:
        size: (height, width) of the image, upright.
        turned: Whether EXIF turns the image and one of its maps in different ways.
        values: (H, W) stored numbers of its label map; None when not annotated.
        labels: (H, W) uint8, class index or 255; None when not annotated.
        instances: (H, W) int32, each within one class; None when not annotated.
        mixed: How many instances were cut, because they covered several classes.
        by_color: Whether the palette was re-ordered, so that its colours say the classes.
        empty: Whether the image comes out all black or white, see ``looks_empty``.
        people: Its persons with key points; None where there is no such annotation.
    """

    size: tuple[int, int]
    turned: bool
    values: Numbers | None
    labels: npt.NDArray[np.uint8] | None
    instances: npt.NDArray[np.int32] | None
    mixed: int = 0
    by_color: bool = False
    empty: bool = False
    people: tuple[Person, ...] | None = None


def cut_by_class(
    labels: npt.NDArray[np.uint8], instances: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], int]:
    """Give the parts of an instance that lie in different classes numbers of their own.

    Its largest part keeps the number (of equal ones, that of the lowest class), and so do its
    pixels of no class; the other parts get numbers above all that there are.

    Args:
        labels: (H, W), 0..254 or 255 (no class).
        instances: (H, W), 0 = none.

    Returns:
        (H, W) instances, and how many of them were cut.
    """
    inside = (instances > 0) & (labels != IGNORE)
    pairs, place, pixels = np.unique(
        instances[inside].astype(np.int64) << 8 | labels[inside],
        return_inverse=True,
        return_counts=True,
    )
    order = np.lexsort((pairs, -pixels, pairs >> 8))
    _, first, parts = np.unique((pairs >> 8)[order], return_index=True, return_counts=True)
    if (parts < 2).all():
        return instances, 0
    numbers = pairs >> 8
    others = np.setdiff1d(np.arange(pairs.size), order[first])
    numbers[others] = int(instances.max()) + 1 + np.arange(others.size)
    cut = instances.copy()
    cut[inside] = numbers[place]
    return cut, int((parts > 1).sum())


def mark_crowds(
    labels: npt.NDArray[np.uint8], instances: npt.NDArray[np.int32], classes: ClassList
) -> npt.NDArray[np.int32]:
    """Give the pixels of things that have no instance number that of crowds, (H, W).

    Args:
        labels: (H, W), class index or 255.
        instances: (H, W), 0 = none.
        classes: Their class list.
    """
    things = np.zeros(256, dtype=bool)
    things[[info.id for info in classes if info.thing]] = True
    crowd = things[labels] & (instances == 0)
    return np.where(crowd, np.int32(CROWD), instances) if crowd.any() else instances


@dataclass(eq=False)
class AnnotatedFiles:
    """A data set whose samples are read from files when asked for; nothing is kept in memory.

    Attributes:
        name: The SPEC that makes it.
        classes: The classes of its label maps.
        entries: Its samples, in index order.
        coding: What the numbers of its label maps mean.
        others: Files that ``coding`` comes from.
        read_instances: Reads one of its instance maps; None where it does not tell instances.
    """

    name: str
    classes: ClassList
    entries: Sequence[Entry]
    coding: Coding
    others: tuple[Path, ...] = ()
    read_instances: ReadInstances = read_instance_map

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Sample ids in index order."""
        return tuple(entry.id for entry in self.entries)

    @cached_property
    def groups(self) -> tuple[str | None, ...]:
        """Per sample the group of images that are not independent of each other, or None."""
        return tuple(entry.group for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def files(self, index: int) -> SampleFiles:
        """Return the files of one sample.

        Raises:
            IndexError: No such sample.
        """
        entry = self.entries[at(index, len(self))]
        return SampleFiles(entry.image, entry.labels, entry.instances, self.others)

    def __getitem__(self, index: int) -> Sample:
        """Read one image with its maps.

        Raises:
            GstoVizError: An unreadable file, a label that is not a class, or sizes that differ.
            IndexError: No such sample.
        """
        entry = self.entries[at(index, len(self))]
        image = read_image(entry.image)
        found = self._maps(entry, image.shape[:2])
        people = self.people(index)
        return Sample(entry.id, image, found.labels, found.instances, entry.group, people)

    def people(self, index: int) -> tuple[Person, ...] | None:
        """Return the persons of one sample without reading it; None where there are no joints."""
        return None

    def annotation(self, index: int) -> Annotation:
        """Read the maps of one sample, and of its image only the head.

        Errors are those of ``self[index]``, as far as the pixels of the image have no part in them.
        """
        entry = self.entries[at(index, len(self))]
        head = read_header(entry.image)
        found = self._maps(entry, head.size)
        turned = self._orientations(entry) - {head.orientation} != set()
        empty = head.may_vanish and looks_empty(entry.image)
        return found._replace(turned=turned, empty=empty, people=self.people(index))

    def _orientations(self, entry: Entry) -> set[int]:
        """Return the EXIF orientations that the maps of a sample name."""
        maps = (entry.labels, entry.instances)
        return {read_header(path).orientation for path in maps if path is not None}

    def _maps(self, entry: Entry, size: tuple[int, int]) -> Annotation:
        """Read the maps of a sample, which must have the size of its image."""
        values = labels = instances = None
        mixed, by_color = 0, False
        if entry.labels is not None:
            values, palette = read_numbers(entry.labels)
            usual = entry.coding or self.coding
            coding = usual.for_palette(values, palette, entry.labels)
            by_color = coding is not usual
            labels = coding.decode(values, entry.labels)
            check_same_size(size, entry.image, labels, entry.labels)
        if entry.instances is not None:
            instances = self.read_instances(entry.instances)
        if instances is not None:
            assert entry.instances is not None
            check_same_size(size, entry.image, instances, entry.instances)
            if labels is not None:
                instances, mixed = cut_by_class(labels, instances)
        return Annotation(size, False, values, labels, instances, mixed, by_color)


@dataclass(frozen=True)
class DataSet:
    """One row of the register: a data set of files, with its words for help and messages.

    Attributes:
        name: The first word of its SPEC.
        title: Its name in sentences.
        splits: The words that may follow its path.
        tree: How it lies on disk, in words: ``a LIP folder holds ...``.
        find: Lists the samples of a split, in index order. Called with this row, the folder, the
            split and the purpose.
        classes: Its class list: a name in ``gsto_viz/data/classes``, or the path of a JSON file of
            the same form. Empty where each folder brings its own.
        coding: What the numbers of its label maps mean; None: 0..K-1, and 255 for no class.
        read_instances: Reads one of its instance maps.
        licence: In a few words, for the documentation.
        notice: What weights trained on it may be used for, in words; empty: no restriction.
        held_out: Splits that are kept for evidence: nothing is trained or tuned on them.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    tree: str
    find: Callable[["DataSet", Path, str, Purpose], Sequence[Entry]]
    classes: str | Path = ""
    coding: Coding | None = None
    read_instances: ReadInstances = read_instance_map
    licence: str = ""
    notice: str = ""
    held_out: tuple[str, ...] = ()

    def open(
        self, root: str | Path, split: str | None = None, purpose: Purpose = "eval"
    ) -> FileDataset:
        """Open one split; by default the one of the purpose.

        Raises:
            GstoVizError: Unknown split, a folder that is missing or empty, an image without maps.
        """
        root, split = Path(root), split or default_split(purpose)
        self.check_split(split)
        classes = shipped_classes(self.classes)
        return AnnotatedFiles(
            f"{self.name}:{root}:{split}",
            classes,
            self.find(self, root, split, purpose),
            self.coding or Coding.of(range(len(classes))),
            read_instances=self.read_instances,
        )

    @property
    def class_count(self) -> str:
        """How many classes it has, in words."""
        if not self.classes:
            return "classes of its own"
        return f"{len(shipped_classes(self.classes))} classes"

    def check_split(self, split: str) -> None:
        """Refuse a word that is not one of the splits.

        Raises:
            GstoVizError: The message names them all.
        """
        if split not in self.splits:
            raise GstoVizError(
                f"{self.title} has no split '{split}'; choose one of {', '.join(self.splits)}"
            )

    def check_folders(self, *folders: Path) -> None:
        """Check that these folders, outermost first, exist.

        Raises:
            GstoVizError: One is missing; the message names it, and how the data set lies on disk.
        """
        for folder in folders:
            if not folder.is_dir():
                raise GstoVizError(f"no folder {folder}; {self.tree}")

    def images_in(self, folder: Path) -> dict[str, Path]:
        """List the images of a folder by stem.

        Raises:
            GstoVizError: There are none.
        """
        images = list_stems(folder, IMAGE_SUFFIXES)
        if images:
            return images
        others = list(files_under(folder))
        if others:
            raise GstoVizError(
                f"no images in {folder} that are read, but {counted(len(others), 'other file')}, "
                f"first {others[0].name}; save them as PNG or JPEG"
            )
        raise GstoVizError(f"no images in {folder}; {self.tree}")

    def labelled(self, images: dict[str, Path], labels_at: Path, suffix: str = "") -> list[Entry]:
        """Pair images with the label maps of the same names (and a suffix) in another folder.

        Raises:
            GstoVizError: An image has no label map.
        """
        labels = pair_up(images, labels_at, "label map", suffix)
        return [Entry(stem, path, labels[stem]) for stem, path in images.items()]


def default_split(purpose: Purpose) -> str:
    """Return the split that is taken where none is named."""
    return "train" if purpose == "train" else "val"


class WrappedDataset:
    """Name, classes, ids and length of the data set underneath; subclasses give the samples.

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

    @property
    def joints(self) -> Joints | None:
        """The joints of the data set underneath."""
        return joints_of(self.base)

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


def annotation_of(data: Dataset, index: int) -> Annotation:
    """Read the annotation of one sample; the image itself only where there is no other way.

    Instances are objects, see ``with_objects``.
    """
    if isinstance(data, AnnotatedFiles):
        found = data.annotation(index)
    else:
        sample = data[index]
        labels, instances, mixed = sample.labels, sample.instances, 0
        if labels is not None and instances is not None:
            instances, mixed = cut_by_class(labels, instances)
        size = sample.image.shape[:2]
        found = Annotation(size, False, labels, labels, instances, mixed, people=sample.people)
    if found.labels is None or found.instances is None:
        return found
    return found._replace(instances=mark_crowds(found.labels, found.instances, data.classes))


class _Objects(WrappedDataset):
    """A data set whose instances are objects, see ``with_objects``."""

    def __init__(self, base: Dataset) -> None:
        super().__init__(base)
        root = base
        while isinstance(root, WrappedDataset):
            root = root.base
        self._cut = isinstance(root, AnnotatedFiles)

    def __getitem__(self, index: int) -> Sample:
        """Return one sample."""
        sample = self.base[index]
        labels, instances = sample.labels, sample.instances
        if labels is None or instances is None:
            return sample
        if not self._cut:
            instances, _ = cut_by_class(labels, instances)
        return replace(sample, instances=mark_crowds(labels, instances, self.classes))


def with_objects(data: Dataset) -> Dataset:
    """Return a data set in which an instance is of one class, and things without one are crowds.

    The first is so in our own data sets already; ``regions`` says what the second means.
    """
    return data if isinstance(data, _Objects) else _Objects(data)
