"""COCO: images annotated in one JSON file, as they lie on people's disks.

Sources of the folders: the downloads of COCO; what Roboflow and CVAT export.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gsto_viz.data.base import (
    AnnotatedFiles,
    Annotation,
    DataSet,
    Entry,
    Purpose,
    default_split,
)
from gsto_viz.data.coco_json import Listed, Maps, Objects, Segments, read_coco
from gsto_viz.data.coding import Coding
from gsto_viz.data.reader import read_image
from gsto_viz.errors import GstoVizError

_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What each split is called in names of files and folders."""
_LOOKED_FOR = 50
"""So many files say in which folder all of them lie."""


@dataclass(frozen=True, kw_only=True)
class CocoEntry(Entry):
    """Where one sample lies, and what the JSON file says of it.

    Attributes:
        listed: Its annotation; ``labels`` is the file that its maps are drawn from.
    """

    listed: Listed


@dataclass(eq=False, kw_only=True)
class CocoImages(AnnotatedFiles):
    """The images of one annotation file; the maps of each are drawn when it is asked for.

    Attributes:
        entries: Its samples, in index order.
        source: The annotation file.
    """

    entries: Sequence[CocoEntry]
    source: Path

    def _maps(self, entry: Entry, size: tuple[int, int]) -> Annotation:
        """Draw the maps of a sample; those of its image must be the sizes in the file.

        Raises:
            GstoVizError: Sizes that differ, a mask or segment that is wrong.
        """
        assert isinstance(entry, CocoEntry)
        height, width = size
        if entry.listed.size not in (None, size):
            raise GstoVizError(
                f"{entry.image} is {width} x {height} pixels but {self.source} says "
                f"{entry.listed.size[1]} x {entry.listed.size[0]}; take the image that was "
                "annotated, not resized and not turned by EXIF"
            )
        try:
            labels, instances = _drawn(entry, height, width)
        except ValueError as error:
            if isinstance(error, GstoVizError):
                raise
            raise GstoVizError(
                f"{self.source}, image {entry.image.name}: {error}; correct it"
            ) from error
        return Annotation(size, False, labels, labels, instances)

    def _orientations(self, entry: Entry) -> set[int]:
        """Return 1: what a JSON file says is never turned."""
        return {1}


def _drawn(entry: CocoEntry, height: int, width: int) -> Maps:
    """Draw the objects of a sample, or decode the colours of its segments."""
    annotation = entry.listed.annotation
    if isinstance(annotation, Objects):
        return annotation.draw(height, width)
    assert entry.labels is not None
    colors = read_image(entry.labels, formats=("PNG",))
    if colors.shape[:2] != (height, width):
        rows, columns = colors.shape[:2]
        raise ValueError(f"its PNG is {columns} x {rows} pixels, not {width} x {height}")
    return annotation.decode(colors)


class Coco(DataSet):
    """Folders with COCO files, and COCO files themselves."""

    kinds: ClassVar[tuple[str, ...]] = ("panoptic", "instances", "")
    """First words of annotation files; the first kind that is there is taken."""
    passed_over: ClassVar[str] = r"\.|(captions|person_keypoints|image_info)_"
    """How the names of files begin that are not read."""

    def open(
        self, root: str | Path, split: str | None = None, purpose: Purpose = "eval"
    ) -> CocoImages:
        """Open a split of a folder, a folder with one annotation file, or an annotation file.

        Raises:
            GstoVizError: No annotation file or several, one that is wrong, missing images or PNGs;
                or there are polygons, and pycocotools is not installed.
        """
        root = Path(root)
        if root.is_file():
            source = root
            if split is not None:
                raise GstoVizError(f"{root} is one file and has no splits; leave ':{split}' out")
        else:
            self.check_folders(root)
            source, split = self._choose(root, split, purpose)
        return self._read(f"{self.name}:{root}" + (f":{split}" if split else ""), source, root)

    def _read(self, spec: str, source: Path, root: Path) -> CocoImages:
        """Read an annotation file."""
        classes, listed = read_coco(source)
        return CocoImages(
            name=spec,
            classes=classes,
            entries=located(source, root, listed),
            coding=Coding.of(range(len(classes))),
            others=(source,),
            source=source,
        )

    def _choose(self, root: Path, split: str | None, purpose: Purpose) -> tuple[Path, str | None]:
        """Find the annotation file of a split, or else, if none is named, that of no split."""
        found = list(_annotation_files(root, re.compile(self.passed_over)))
        wanted = split or default_split(purpose)
        paths = [path for path, of in found if of == wanted]
        of_split: str | None = wanted
        if not paths and split is None:
            paths, of_split = [path for path, of in found if of is None], None
        if not paths:
            names = ", ".join(str(path.relative_to(root)) for path, _ in found[:3])
            raise GstoVizError(
                f"no annotations of split '{wanted}' in {root} "
                f"({'it has ' + names if found else 'no JSON file to read'}); {self.tree}"
            )
        best = next(filter(None, ([p for p in paths if p.name.startswith(k)] for k in self.kinds)))
        if len(best) > 1:
            raise GstoVizError(
                f"{root} has {len(best)} annotation files to choose from, {best[0].name}, "
                f"{best[1].name}{', ...' if best[2:] else ''}; name one: {self.name}:{best[0]}"
            )
        return best[0], of_split


def find_coco(row: DataSet, root: Path, split: str, purpose: Purpose) -> Sequence[Entry]:
    """List the samples of a split."""
    assert isinstance(row, Coco)
    return row.open(root, split, purpose).entries


def _annotation_files(
    root: Path, passed_over: re.Pattern[str]
) -> Iterator[tuple[Path, str | None]]:
    """List the JSON files that may be read, each with its split.

    The folder says the split, or else the name of the file.
    """
    places: list[tuple[Path, str | None]] = [(root, None), (root / "annotations", None)]
    for split, words in _WORDS.items():
        for word in words:
            places += [(root / word, split), (root / word / "annotations", split)]
    for folder, of in places:
        for path in sorted(folder.glob("*.json")):
            if not passed_over.match(path.name):
                yield path, of or _split_of(path)


def _split_of(path: Path) -> str | None:
    """Return the split that is named in the name of a file, if any."""
    words = set(re.findall("[a-z]+", path.stem.lower()))
    return next((split for split, names in _WORDS.items() if words & set(names)), None)


def located(source: Path, root: Path, listed: Sequence[Listed]) -> list[CocoEntry]:
    """Find the files of all images.

    Raises:
        GstoVizError: Some are missing.
    """
    top = source.parent.parent if source.parent.name == "annotations" else source.parent
    tops = tuple(dict.fromkeys((top, source.parent, *([root] if root.is_dir() else []))))
    kind, _, tail = source.stem.partition("_")
    words = [
        w for w in (tail, tail.rpartition("_")[2], *_WORDS.get(_split_of(source) or "", ())) if w
    ]
    inner = [*words, "images", *(f"images/{word}" for word in words), "data", ""]
    names = [one.file_name for one in listed]
    images = _files(source, [at / name for at in tops for name in inner], names, "images")
    if isinstance(listed[0].annotation, Objects):
        maps = [source] * len(images)
    else:
        inner = [source.stem, f"annotations/{source.stem}", kind, ""]
        folders = [at / name for at in tops for name in inner]
        names = [one.annotation.file_name for one in listed if isinstance(one.annotation, Segments)]
        maps = _files(source, folders, names, "segment PNGs")
    return [
        CocoEntry(one.id, image, labels, labels, listed=one)
        for one, image, labels in zip(listed, images, maps, strict=True)
    ]


def _files(source: Path, folders: Sequence[Path], names: Sequence[str], what: str) -> list[Path]:
    """Return the paths of files in that folder which holds most of them.

    Raises:
        GstoVizError: Some are missing; the message names the first and how many there are.
    """
    some = names[:: max(1, len(names) // _LOOKED_FOR)]
    folder = max(folders, key=lambda one: sum((one / name).is_file() for name in some))
    paths = [folder / name for name in names]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise GstoVizError(
            f"{len(missing)} of {len(paths)} {what} of {source} are missing, first {missing[0]}; "
            "add them or take them out of the file"
        )
    return paths
