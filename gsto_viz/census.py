"""What a data set's annotation really holds, counted before any number is made from it.

A census reads label maps (all of them, or a seeded sample) and says what it found as ``Finding``s:
a code, a sentence, what to do. Most findings only warn. A run stops on a certain sign, or when the
whole split of an own folder was read and its labels cannot be what the class list says.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gsto_viz.data import (
    PeopleCount,
    WrappedDataset,
    annotation_of,
    data_kind,
    unread_names,
)
from gsto_viz.errors import GstoVizError, NumberingError, did_you_mean
from gsto_viz.regions import number_regions
from gsto_viz.types import CROWD, IGNORE, ClassInfo, ClassList, Dataset, FileDataset, Person
from gsto_viz.words import counted, first_few

CODES = {
    "unreadable": "images or label maps that cannot be read or do not fit their class list",
    "unlabelled": "samples without a label map",
    "numbering": "label maps that hold numbers of another convention",
    "one-class": "fewer than two classes occur",
    "absent-class": "classes that occur in no label map",
    "ignored": "a large share of the pixels belongs to no class",
    "palette": "label maps whose palette was re-ordered",
    "mixed-instances": "instances that cover several classes",
    "crowds": "things without an instance number in any label map",
    "lost-instances": "instance maps that do not tell instances apart",
    "turned": "images and label maps that EXIF turns in different ways",
    "empty": "images that come out all black or all white",
    "mixed-masks": "label maps in which 255 may stand for a class",
    "left-out": "files beside the images that are not read",
    "no-people": "no person has key points",
    "left-out-people": "persons with key points that cannot be used",
    "joints-outside": "key points that lie outside their image",
    "no-pairs": "no image has two regions that an index compares (analyze)",
    "small": "images smaller than the coarsest stride of the network",
    "other-classes": "the network was trained on other classes",
}
"""What can be found, by the code that ``--accept`` takes."""

IGNORED_SHARE = 0.05
"""An absent class stops a run only where a larger share of the pixels is ignored."""

QUICK = 200
"""Label maps that the quick census before a run reads at most."""


@dataclass(frozen=True)
class Finding:
    """One thing that a census found.

    Attributes:
        code: One of ``CODES``.
        sentence: What was found, with counts.
        advice: What to do about it.
        stops: Whether a run stops until it is told to accept the code.
    """

    code: str
    sentence: str
    advice: str
    stops: bool = False

    def __str__(self) -> str:
        return f"{self.sentence} [{self.code}]; {self.advice}"


@dataclass
class Census:
    """Counts over the label maps that were read.

    Attributes:
        data: Name of the data set.
        classes: Its classes.
        samples: How many samples it has.
        read: How many of them were counted.
        seed: What the sample was drawn with; None when all were read.
        values: Pixels by (stored number, class index or 255), over all label maps.
        maps: Label maps in which a stored number occurs.
        sizes: Images by (height, width), as they are seen.
        objects: Regions by (class, octave of linear size); empty in a quick census.
        problems: By id, why a sample cannot be used.
        numbering: By id, why the numbers of a label map are those of another convention.
        unlabelled: Ids of samples without labels.
        turned: Ids of images that EXIF turns in another way than their maps.
        empty: Ids of images that come out all black or all white.
        beside: Label maps in which a class occurs together with pixels of no class.
        mixed: Instances that cover several classes, by the id of their image.
        lost: Ids of samples whose instance map does not tell instances apart.
        crowds: Instance maps in which a class has pixels of crowds.
        numbered: Instance maps in which a class has instances.
        by_color: Ids of samples whose label map has a re-ordered palette.
        left_out: Names of files that are not read.
        people: Counts of persons and joints; None where there are no key points.
        others: Findings that are not about the data alone.
    """

    data: str
    classes: ClassList
    samples: int
    read: int = 0
    seed: int | None = None
    values: Counter[tuple[int, int]] = field(default_factory=Counter)
    maps: Counter[int] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    objects: Counter[tuple[int, int]] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    numbering: dict[str, str] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    beside: Counter[int] = field(default_factory=Counter)
    mixed: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    crowds: Counter[int] = field(default_factory=Counter)
    numbered: Counter[int] = field(default_factory=Counter)
    by_color: list[str] = field(default_factory=list)
    left_out: tuple[str, ...] = ()
    people: PeopleCount | None = None
    others: tuple[Finding, ...] = ()

    def pixels(self, class_id: int) -> int:
        """Pixels of a class, or of no class (255)."""
        return sum(count for (_, one), count in self.values.items() if one == class_id)

    @property
    def ignored(self) -> float:
        """Share of the pixels that belong to no class, 0..1."""
        return self.pixels(IGNORE) / max(sum(self.values.values()), 1)

    @property
    def absent(self) -> tuple[ClassInfo, ...]:
        """The classes that occur in no label map that was read."""
        present = {class_id for _, class_id in self.values}
        return tuple(info for info in self.classes if info.id not in present)

    @property
    def whole(self) -> bool:
        """Whether every sample was counted."""
        return self.read == self.samples

    def findings(self) -> list[Finding]:
        """What is worth saying, the things that stop a run first."""
        found = [*self._classes(), *self._files(), *self._instances(), *self._people()]
        found += self.others
        return sorted(found, key=lambda one: not one.stops)

    def _classes(self) -> Iterator[Finding]:
        """Classes that are not there, and pixels of no class."""
        if not self.values:
            return
        folder = data_kind(self.data) == "folder"
        own = folder and self.whole
        absent = self.absent
        present = [info for info in self.classes if info not in absent]
        ignored = f"{100 * self.ignored:.1f} % of the pixels are ignored"
        much = self.ignored > IGNORED_SHARE
        advice = "leave what never occurs out of the class list, or take a split that holds it"
        # Small objects alone ignore few pixels, but then a single class is left.
        if folder and absent and (much or (self.ignored and len(present) < 2)):
            number = max(number for number, class_id in self.values if class_id == IGNORE)
            advice = (
                f"if {number} marks class '{absent[0].name}', say so in classes.json: "
                f'"map": {{"{number}": {absent[0].id}}}'
            )
        if len(present) < 2:
            only = f"only class '{present[0].name}' occurs" if present else "no class occurs"
            if self.people is not None:
                advice = "persons without a mask are ignored and are measured by their boxes"
            yield Finding("one-class", f"{only}, and {ignored}", advice, stops=own)
        elif absent:
            names = first_few([f"'{info.name}'" for info in absent])
            yield Finding(
                "absent-class",
                f"{counted(len(absent), 'class', 'classes')} in none of {self.read} label maps: "
                f"{names}; {ignored}",
                advice,
                stops=own and much,
            )
        elif much:
            yield Finding("ignored", ignored, "see that they are meant to be")
        yield from self._masks(present)
        yield from self._train_ids()

    def _train_ids(self) -> Iterator[Finding]:
        """Label ids of Cityscapes that would be train ids, were there a 255 among them."""
        known = {value for value, class_id in self.values if class_id != IGNORE}
        highest = max(value for value, _ in self.values)
        low = highest < 20 and not known & set(range(7))
        if data_kind(self.data) == "cityscapes" and low and self.ignored > 0.2:
            yield Finding(
                "numbering",
                f"the highest number in {self.read} label maps is {highest}, and label ids of "
                f"streets reach 26 (car); {100 * self.ignored:.0f} % of the pixels are ignored",
                "if these are train ids, call the files *_gtFine_labelTrainIds.png",
            )

    def _masks(self, present: Sequence[ClassInfo]) -> Iterator[Finding]:
        """Masks of two classes of which some seem to say 255 where others say 1."""
        maps, alone = self.beside[IGNORE], [one for one in present if not self.beside[one.id]]
        if data_kind(self.data) == "folder" and len(self.classes) == 2 and maps and len(alone) == 1:
            yield Finding(
                "mixed-masks",
                f"{counted(maps, 'label map has', 'label maps have')} ignored pixels and never "
                f"class '{alone[0].name}', which the others have",
                f"if 255 marks it there, say so in classes.json: "
                f'"map": {{"255": {alone[0].id}, "{alone[0].id}": {alone[0].id}}}',
            )

    def _files(self) -> Iterator[Finding]:
        """What is wrong with files, and what lies beside them."""
        if self.numbering:
            first, _, advice = next(iter(self.numbering.values())).partition("; ")
            yield Finding(
                "numbering",
                f"{len(self.numbering)} of {self.read} label maps are of another convention, "
                f"first: {first}",
                advice,
                stops=True,
            )
        if self.problems:
            first = next(iter(self.problems.values()))
            yield Finding(
                "unreadable",
                f"{len(self.problems)} of {self.read} samples cannot be used, first: {first}",
                "mend them or take them away",
            )
        if self.unlabelled:
            yield Finding(
                "unlabelled",
                f"{counted(len(self.unlabelled), 'sample has', 'samples have')} no label map: "
                f"{first_few(self.unlabelled)}",
                "annotate them or take them away",
            )
        if self.turned:
            yield Finding(
                "turned",
                f"EXIF turns {counted(len(self.turned), 'image')} and what is annotated in "
                f"different ways: {first_few(self.turned)}",
                "see that image and labels lie on each other, or save both upright",
            )
        if self.empty:
            yield Finding(
                "empty",
                f"{counted(len(self.empty), 'image comes', 'images come')} out all black or all "
                f"white: {first_few(self.empty)}",
                "stretch values of 8 or 12 bits in files of 16, and leave transparency out",
            )
        if self.by_color:
            yield Finding(
                "palette",
                f"{counted(len(self.by_color), 'label map has', 'label maps have')} a palette of "
                f"the class colours in another order: {first_few(self.by_color)}",
                "they are read by colour",
            )
        if self.left_out:
            yield Finding(
                "left-out",
                f"{counted(len(self.left_out), 'file is', 'files are')} not read: "
                f"{first_few(self.left_out)}",
                "save them as PNG or JPEG if they are images, or take them away",
            )

    def _instances(self) -> Iterator[Finding]:
        """What is wrong with instance maps."""
        if self.mixed:
            total = sum(self.mixed.values())
            yield Finding(
                "mixed-instances",
                f"{counted(total, 'instance covers', 'instances cover')} several classes in "
                f"{counted(len(self.mixed), 'image')}, first {next(iter(self.mixed))}",
                "each is cut by class; give instances of different classes different numbers",
            )
        never = [
            info.name
            for info in self.classes
            if self.crowds[info.id] and not self.numbered[info.id]
        ]
        if never:
            yield Finding(
                "crowds",
                f"{counted(len(never), 'class of things has', 'classes of things have')} no "
                f"instance number in any instance map: {first_few(never)}",
                "they count as crowds, whose regions have no size; call them stuff in the class "
                "list, or number their instances",
            )
        if self.lost:
            yield Finding(
                "lost-instances",
                f"{counted(len(self.lost), 'instance map does', 'instance maps do')} not tell "
                f"instances apart, as when saved again with 8 bits: {first_few(self.lost)}",
                "objects are connected areas there; take the original maps of 16 bits",
            )

    def _people(self) -> Iterator[Finding]:
        """What is wrong with persons and their joints."""
        count = self.people
        if count is None:
            return
        if not count.persons:
            usable, advice = self.read - len(self.problems), "annotate some, or take another split"
            where = counted(usable, "image")
            if self.problems:
                first = next(iter(self.problems.values()))
                where += f" that can be used, of {self.read}; first of the others: {first}"
                advice = "mend or annotate them"
            yield Finding(
                "no-people", f"no person has key points in {where}", advice, stops=self.whole
            )
        if count.left_out:
            yield Finding(
                "left-out-people",
                f"{counted(len(count.left_out), 'person is', 'persons are')} left out: "
                f"{first_few(count.left_out)}",
                "correct them in the file",
            )
        if count.outside:
            yield Finding(
                "joints-outside",
                f"{counted(count.outside.total(), 'joint lies', 'joints lie')} outside the image: "
                f"{first_few(list(count.outside))}",
                "see that images and key points belong together",
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for manifests and ``--json``."""
        people = {} if self.people is None else {"people": self.people.to_json()}
        return {
            "data": self.data,
            "samples": self.samples,
            "read": self.read,
            "seed": self.seed,
            "ignored": self.ignored,
            "values": [
                {"value": value, "class": class_id, "pixels": count, "maps": self.maps[value]}
                for (value, class_id), count in sorted(self.values.items())
            ],
            "sizes": [
                {"height": height, "width": width, "images": count}
                for (height, width), count in sorted(self.sizes.items())
            ],
            "objects": [
                {"class": class_id, "octave": octave, "regions": count}
                for (class_id, octave), count in sorted(self.objects.items())
            ],
            **people,
            "findings": [asdict(one) for one in self.findings()],
        }


def take_census(
    data: Dataset,
    *,
    most: int | None = None,
    seed: int = 0,
    objects: bool = True,
    threads: int | None = None,
    quiet: bool = True,
) -> Census:
    """Count what the label maps of a data set hold.

    Args:
        data: Any data set; of one made of files no image is decoded, only its head is read.
        most: Label maps to read at most, drawn with ``seed``; None reads all.
        seed: Which maps are drawn.
        objects: Count regions by class and size too (most of the time).
        threads: Readers; by default one per core.
        quiet: No progress bar.

    Raises:
        GstoVizError: ``most`` is below 1, or ``seed`` below 0.
    """
    if most is not None and most < 1:
        raise GstoVizError(f"a census of {most} label maps: read at least 1")
    if seed < 0:
        raise GstoVizError(f"seed {seed} is negative; give 0 or more")
    indices = np.arange(len(data))
    sampled = most is not None and most < len(data)
    if sampled:
        indices = np.sort(np.random.default_rng(seed).choice(indices, most, replace=False))
    census = Census(data.name, data.classes, len(data), seed=seed if sampled else None)
    census.people = PeopleCount.of(data)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        seen = pool.map(lambda index: _look(data, int(index), objects), indices)
        for id_, one in zip(
            (data.ids[index] for index in indices),
            tqdm(seen, "census", len(indices), unit="map", disable=quiet, leave=False),
            strict=True,
        ):
            _add(census, id_, one)
    census.left_out = unread_names(data)
    return census


class _Seen(NamedTuple):
    """What one sample holds, see ``Census``."""

    size: tuple[int, int] | None = None
    turned: bool = False
    values: dict[tuple[int, int], int] | None = None
    objects: Mapping[tuple[int, int], int] = MappingProxyType({})
    mixed: int = 0
    by_color: bool = False
    empty: bool = False
    lost: bool = False
    crowds: Collection[int] = ()
    numbered: Collection[int] = ()
    people: Sequence[Person] | None = None
    problem: GstoVizError | None = None


def _look(data: Dataset, index: int, objects: bool) -> _Seen:
    """Count one sample; what is wrong with it is a result, not an error."""
    try:
        found = annotation_of(data, index)
    except GstoVizError as error:
        return _Seen(problem=error)
    labels, instances = found.labels, found.instances
    if labels is None or found.values is None:
        return _Seen(found.size, found.turned, empty=found.empty, people=found.people)
    crowds, numbered = ([], []) if instances is None else _numbered(labels, instances)
    return _Seen(
        found.size,
        found.turned,
        _pairs(found.values, labels),
        _objects(labels, instances) if objects else {},
        found.mixed,
        found.by_color,
        found.empty,
        instances is None and isinstance(data, FileDataset) and bool(data.files(index).instances),
        crowds,
        numbered,
        found.people,
    )


def _numbered(
    labels: npt.NDArray[np.uint8], instances: npt.NDArray[np.int32]
) -> tuple[list[int], list[int]]:
    """Return which classes have pixels of crowds, and which have instances."""
    crowd, thing = (
        np.flatnonzero(np.bincount(labels[mask], minlength=256)[:IGNORE]).tolist()
        for mask in (instances == CROWD, instances > 0)
    )
    return crowd, thing


def _pairs(
    values: npt.NDArray[np.integer], labels: npt.NDArray[np.uint8]
) -> dict[tuple[int, int], int]:
    """Count the pixels of each (stored number, label)."""
    counts = np.bincount((values.astype(np.int64) << 8 | labels).ravel())
    return {(int(key) >> 8, int(key) & 255): int(counts[key]) for key in np.flatnonzero(counts)}


def _objects(
    labels: npt.NDArray[np.uint8], instances: npt.NDArray[np.int32] | None
) -> Counter[tuple[int, int]]:
    """Count regions but for crowds by class and octave of linear size."""
    ids = number_regions(labels, instances, crowds=False).ravel()
    area = np.bincount(ids)[1:]
    class_of = np.zeros(area.size + 1, dtype=np.int64)
    class_of[ids] = labels.ravel()
    octave = np.floor(0.5 * np.log2(area)).astype(int)
    return Counter(zip(class_of[1:].tolist(), octave.tolist(), strict=True))


def _add(census: Census, id_: str, seen: _Seen) -> None:
    census.read += 1
    if seen.problem is not None:
        other = isinstance(seen.problem, NumberingError)
        (census.numbering if other else census.problems)[id_] = str(seen.problem)
        return
    if seen.size is not None:
        census.sizes[seen.size] += 1
        if census.people is not None:
            census.people.add(id_, seen.people or (), seen.size)
    for found, ids in (
        (seen.turned, census.turned),
        (seen.empty, census.empty),
        (seen.by_color, census.by_color),
        (seen.lost, census.lost),
    ):
        if found:
            ids.append(id_)
    if seen.values is None:
        census.unlabelled.append(id_)
        return
    census.values.update(seen.values)
    census.maps.update({value for value, _ in seen.values})
    census.objects.update(seen.objects)
    classes = {class_id for _, class_id in seen.values}
    if IGNORE in classes:
        census.beside.update(classes)
    census.crowds.update(seen.crowds)
    census.numbered.update(seen.numbered)
    if seen.mixed:
        census.mixed[id_] = seen.mixed


def quick_findings(
    data: Dataset,
    accepted: Collection[str] = (),
    *,
    most: int | None = None,
    more: Iterable[Finding] = (),
    quiet: bool = True,
) -> list[Finding]:
    """Count part of the label maps before a run, and stop it at what cannot be right.

    Procedural data are what they say and are not counted.

    Args:
        data: What the run is about to read.
        accepted: Codes that must not stop it, see ``CODES``.
        most: Images that the run reads at most; None: all.
        more: What was found in another way.
        quiet: No progress bar.

    Raises:
        GstoVizError: See ``stop_at``.
    """
    while isinstance(data, WrappedDataset):
        data = data.base
    if not isinstance(data, FileDataset):
        return stop_at(more, accepted)
    census = take_census(data, most=min(most or QUICK, QUICK), objects=False, quiet=quiet)
    return stop_at([*census.findings(), *more], accepted)


def stop_at(findings: Iterable[Finding], accepted: Collection[str] = ()) -> list[Finding]:
    """Return findings that are accepted or only warn.

    Args:
        findings: Of a census.
        accepted: Codes that must not stop a run.

    Raises:
        GstoVizError: A finding stops and its code is not accepted; or a code is unknown.
    """
    for code in accepted:
        if code not in CODES:
            hint = did_you_mean(code, CODES, otherwise=f"the codes are {', '.join(CODES)}")
            raise GstoVizError(f"--accept {code}: unknown code; {hint}")
    findings = list(findings)
    stops = [one for one in findings if one.stops and one.code not in accepted]
    if stops:
        first, *others = stops
        also = "".join(f"; also, {one.sentence}" for one in others)
        accept = " ".join(f"--accept {one.code}" for one in stops)
        raise GstoVizError(f"{first.sentence}; {first.advice}, or go on with {accept}{also}")
    return findings
