"""Scenes whose maps come with the package, so that the first view waits for no network.

``python -m gsto_viz.explorer.shown`` writes them anew, which is needed whenever the shipped
weights or the scenes change; files that do not fit are left aside and the networks run instead.
"""

import functools
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import SHIPPED_PAIR, Choice
from gsto_viz.explorer.pictures import Picture, scene_picture
from gsto_viz.files import atomic_path
from gsto_viz.look import Look, load_arrays, save_arrays, unpacked
from gsto_viz.models import SegmentationNetwork
from gsto_viz.models.base import NetworkConfig
from gsto_viz.network import open_network
from gsto_viz.regions import PreparedRegions, prepare_regions
from gsto_viz.report.examples import with_skeletons
from gsto_viz.types import IGNORE, ClassList, Sample

LETTERS = ("A", "B")
HALF = np.float16
"""Precision of logits and of weights of relations: scores and percents are read to two decimals."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Two networks on one image.

    Attributes:
        picture: The image.
        sample: The image with the labels that fit the networks, if any.
        why_unlabelled: Why there are no labels, or None.
        classes: Of both networks; joints of networks for pose.
        choices: ``A`` and ``B``: the checkpoints.
        inspections: ``A`` and ``B``: what each network shows, with logits, and skeletons of
            networks for pose.
        fingerprints: ``A`` and ``B``: SHA-256 of the checkpoints.
    """

    picture: Picture
    sample: Sample
    why_unlabelled: str | None
    classes: ClassList
    choices: dict[str, Choice]
    inspections: dict[str, Look]
    fingerprints: dict[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """What the results depend on, for caches."""
        labelled = "labels" if self.sample.labels is not None else "no labels"
        names = (self.inspections[letter].name for letter in LETTERS)
        return (self.picture.key, self.sample.id, labelled, *self.fingerprints.values(), *names)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image as the networks see it."""
        height, width = self.sample.image.shape[:2]
        return int(height), int(width)

    @property
    def pose(self) -> bool:
        """Whether the networks find joints, and so predict no classes of pixels."""
        return self.choices["A"].task == "pose"

    @property
    def pixel_classes(self) -> ClassList:
        """Classes of labels and regions: those of the networks, unless these are joints."""
        annotated = self.picture.classes
        return annotated if self.pose and annotated is not None else self.classes

    @property
    def sites(self) -> str:
        """What the branches that are compared are called, of each network where they differ."""
        names = {letter: self.inspections[letter].site for letter in LETTERS}
        if len(set(names.values())) == 1:
            return names["A"]
        return ", ".join(f"{name} ({letter})" for letter, name in names.items())

    @property
    def region_source(self) -> str:
        """What regions are cut from, in words."""
        if self.sample.labels is not None:
            return "the labels"
        return "nothing" if self.pose else "A's prediction"


def look(model: SegmentationNetwork, picture: Picture) -> Look:
    """Run a network on an image; keep what pages keep, read-only.

    Logits and weights of relations are kept at half precision.
    """
    network = open_network(model)
    seen = network.look(picture.sample.image, logits=True, relations=True)
    assert seen.logits is not None
    half = seen.logits.astype(HALF)
    relations: dict[str, npt.NDArray[Any]] = {
        tap: weights.astype(HALF) for tap, weights in seen.relations.items()
    }
    arrays: list[npt.NDArray[Any]] = [half, seen.prediction, *seen.raw, *seen.activity]
    for array in (*arrays, *seen.gates.values(), *relations.values()):
        array.setflags(write=False)
    site = branch_pattern(network.anatomy.branch_taps)
    return replace(seen, logits=half, relations=relations, site=site)


def branch_pattern(taps: Sequence[str]) -> str:
    """Return what branches are called, ``*`` for their number: ``stage4.branch*``.

    Args:
        taps: Of a network of ours, whose last number in each name is that of the branch, from 0.
    """
    (name,) = {re.sub(r"\d+(?=\D*$)", "*", tap) for tap in taps}
    return name


def show_pair(
    picture: Picture,
    choices: Mapping[str, Choice],
    inspections: Mapping[str, Look],
    fingerprints: Mapping[str, str],
) -> Shown:
    """Put together what two networks of the same classes show for an image.

    Args:
        picture: The image; its labels are left out where they are of other classes.
        choices: ``A`` and ``B``: the checkpoints.
        inspections: ``A`` and ``B``: what each shows, with logits.
        fingerprints: ``A`` and ``B``: SHA-256 of the checkpoints.
    """
    a = choices["A"]
    sample, why = annotated_for(picture, a.classes, a.task)
    return Shown(
        picture=picture,
        sample=sample,
        why_unlabelled=why,
        classes=a.classes,
        choices=dict(choices),
        inspections={letter: with_skeletons(one, sample) for letter, one in inspections.items()},
        fingerprints=dict(fingerprints),
    )


def heat_maps_of(seen: Look) -> npt.NDArray[np.float32]:
    """Return the heat maps of a network that was looked at with logits, (J, h, w)."""
    assert seen.logits is not None
    return seen.logits.astype(np.float32)


def check_classes(a: Choice, b: Choice) -> None:
    """Refuse to compare checkpoints of different classes.

    Raises:
        GstoVizError: With both lists of names.
    """
    if a.classes.names != b.classes.names:
        raise GstoVizError(
            f"A ({a.key}) knows {', '.join(a.classes.names)} and B ({b.key}) knows "
            f"{', '.join(b.classes.names)}; choose networks of the same classes"
        )


def annotated_for(
    picture: Picture, classes: ClassList, task: str = NetworkConfig.task
) -> tuple[Sample, str | None]:
    """Return the sample as far as networks of ``classes`` can be judged by it.

    Args:
        picture: The image.
        classes: Of the networks; joints of networks for pose.
        task: What the networks are for.

    Returns:
        The sample, without labels where these are of other classes, and why there are none.
        Networks for pose are judged by persons with their joints.
    """
    if picture.classes is None:
        return picture.sample, "This image has no labels, so there is no table by object size."
    bare = replace(picture.sample, labels=None, instances=None, people=None)
    if task == "pose":
        if picture.joints is None or picture.joints.classes.names != classes.names:
            return bare, (
                "The networks find joints, and this image has no persons with such joints, so "
                "ground truth and table are left out."
            )
    elif picture.classes.names != classes.names:
        return bare, (
            "The networks know other classes than this image's labels, so ground truth and table "
            "are left out."
        )
    return picture.sample, None


def cut_regions(shown: Shown) -> PreparedRegions:
    """Cut the image into regions: by its labels, else by A's prediction.

    Networks for pose predict none: without labels there is no region.
    """
    sample, strides = shown.sample, shown.inspections["A"].strides
    if sample.labels is not None:
        return prepare_regions(sample.labels, strides, sample.instances, IGNORE)
    labels: npt.NDArray[np.uint8] = shown.inspections["A"].prediction
    if shown.pose:
        labels = np.full_like(labels, IGNORE)
        return prepare_regions(labels, strides, None, IGNORE)
    return prepare_regions(labels, strides, None, None)


SCENES = (0, 3, 7, 12, 18, 25)
"""The scenes of the gallery."""
THUMB_WIDTH = 256


def folder() -> Path:
    """Return where the files lie."""
    return Path(str(resources.files("gsto_viz") / "explorer" / "gallery"))


def gallery_scenes() -> tuple[int, ...]:
    """Return the scenes that have a thumbnail."""
    return tuple(scene for scene in SCENES if thumbnail_path(scene).is_file())


def thumbnail_path(scene: int) -> Path:
    """Return the PNG of a scene, 256 pixels wide."""
    return folder() / f"scene-{scene}.png"


@functools.lru_cache(maxsize=64)
def stored_inspection(picture_key: str, sha256: str) -> Look | None:
    """Return what a checkpoint shows for an image, when it comes with the package.

    Args:
        picture_key: ``Picture.key``.
        sha256: Of the checkpoint's file.
    """
    path = folder() / f"{picture_key[:12]}-{sha256[:12]}.npz"
    if not path.is_file():
        return None
    arrays, about = load_arrays(path)
    if (about["picture"], about["sha256"]) != (picture_key, sha256):
        return None
    return unpacked(arrays, about, "")


def save_inspection(path: Path, shown: Look, picture: Picture, sha256: str) -> None:
    """Write what a checkpoint shows for an image; ``shown`` has logits."""
    arrays, about = shown.packed()
    save_arrays(path, arrays, {"picture": picture.key, "sha256": sha256, **about})


def save_thumbnail(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write a PNG, 256 pixels wide."""
    height = round(image.shape[0] * THUMB_WIDTH / image.shape[1])
    small = Image.fromarray(image).resize((THUMB_WIDTH, height), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())


def write_gallery(
    scenes: Sequence[int] = SCENES, checkpoints: Sequence[str] = SHIPPED_PAIR
) -> None:
    """Write thumbnails and maps of the scenes through the shipped pair, over what is there."""
    from gsto_viz.models import load_model

    for old in (*folder().glob("*.npz"), *folder().glob("*.png")):
        old.unlink()
    folder().mkdir(exist_ok=True)
    models = [load_model(name) for name in checkpoints]
    for scene in scenes:
        picture = scene_picture(scene)
        save_thumbnail(thumbnail_path(scene), picture.sample.image)
        for model in models:
            assert model.info is not None
            sha256 = str(model.info.sha256)
            path = folder() / f"{picture.key[:12]}-{sha256[:12]}.npz"
            save_inspection(path, look(model, picture), picture, sha256)


if __name__ == "__main__":
    write_gallery()
