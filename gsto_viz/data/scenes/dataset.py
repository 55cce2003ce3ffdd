"""Procedural scenes: rendered one by one, as a data set, and written as a folder."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gsto_viz.data.classes import CAMVID_CLASSES
from gsto_viz.data.reader import encode_instances, write_png
from gsto_viz.data.scenes.camera import (
    Camera,
    Light,
    Street,
    sample_camera,
    sample_light,
    sample_street,
)
from gsto_viz.data.scenes.canvas import (
    TILE,
    Canvas,
    Ground,
    View,
    expose,
    shade,
    start_canvas,
    survey,
)
from gsto_viz.data.scenes.decorrelated import narrow_view, sample_objects
from gsto_viz.data.scenes.layout import sample_items
from gsto_viz.errors import GstoVizError
from gsto_viz.files import new_folder, write_json
from gsto_viz.types import ClassList, Dataset, Sample

SMALLEST_PX, LARGEST_PX = 64, 4096


def render_scene(
    seed: int, index: int, height: int = 256, width: int = 512, *, decorrelated: bool = False
) -> Sample:
    """Render image ``index`` of the set with this seed.

    Everything is drawn from ``SeedSequence((seed, index))``, so the image depends on nothing else:
    neither on other images nor on threads or processes. Other sizes of the same shape show the
    same scene at another resolution.

    Args:
        seed: Scene seed; below 1,000,000 for training, from there on for everything else.
        index: Number of the image, from 0.
        height: Pixels, 64..4096.
        width: Pixels, 64..4096.
        decorrelated: Draw objects whose size does not depend on their class, see
            ``gsto_viz.data.scenes.decorrelated``, in the same street under the same light.

    Returns:
        The image with labels 0..10 (no pixel is ignored) and instances, numbered without gaps.

    Raises:
        GstoVizError: A number is out of range.
    """
    check_size(height, width)
    if seed < 0 or index < 0:
        raise GstoVizError(f"scene seed {seed}, index {index}: both must be 0 or more")
    layout, film = np.random.SeedSequence((seed, index)).spawn(2)
    rng = np.random.Generator(np.random.PCG64(layout))
    street = sample_street(rng)
    light = sample_light(rng)
    camera = sample_camera(rng, street, height, width)
    if decorrelated:
        street, camera = replace(street, green=(False, False)), narrow_view(camera, height, width)
        items = sample_objects(rng, camera, light, height, width)
    else:
        items = sample_items(rng, street, camera)
    ground = survey(camera, street, height, width)
    canvas = start_canvas(ground, light, street)
    for item in items:
        item.draw(View(canvas, camera, light))
    image = develop(canvas, camera, light, street, ground, film)
    labels, instances = annotation(canvas)
    return Sample(scene_id(seed, index, decorrelated), image, labels, instances)


def scene_id(seed: int, index: int, decorrelated: bool) -> str:
    """Return the id of a scene, such as ``scene-1000000-00003``."""
    kind = "scene-decorrelated" if decorrelated else "scene"
    return f"{kind}-{seed:07d}-{index:05d}"


def check_size(height: int, width: int) -> None:
    """Refuse a size that cannot be rendered.

    Raises:
        GstoVizError: A side is below 64 or above 4096 pixels.
    """
    if not (SMALLEST_PX <= height <= LARGEST_PX and SMALLEST_PX <= width <= LARGEST_PX):
        raise GstoVizError(
            f"scene size {height}x{width} is not possible; "
            f"give HxW with both between {SMALLEST_PX} and {LARGEST_PX}"
        )


def develop(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    street: Street,
    ground: Ground,
    film: np.random.SeedSequence,
) -> npt.NDArray[np.uint8]:
    """Photograph a finished canvas; textures, clouds and noise come from ``film``."""
    rng = np.random.Generator(np.random.PCG64(film))
    row, column = rng.integers(0, TILE, 2).tolist()
    surface = shade(canvas, camera, light, street, ground, (row, column))
    return expose(canvas, surface, ground.rays, light, rng)


def annotation(canvas: Canvas) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Read labels and instances off the pieces; visible instances are numbered 1, 2, ..."""
    table = canvas.table()
    shown = canvas.pieces.astype(np.intp)
    drawn = np.take(table["instance"], shown)
    present = np.zeros(int(table["instance"].max(initial=0)) + 1, dtype=bool)
    present[drawn] = True
    present[0] = False
    number = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return np.take(table["label"], shown), np.take(number, drawn)


EVAL_SEED = 1_000_000
"""Scene seeds below this are for training, from here on for everything else."""

Split = Literal["train", "eval"]


def scene_seed(seed: int, split: Split) -> int:
    """Return the scene seed that a user's seed means in a split.

    Args:
        seed: The user's small number, from 0.
        split: ``train`` keeps it; ``eval`` adds 1,000,000 unless it is there already, so that no
            number names the same images in both.

    Raises:
        GstoVizError: The seed is negative, an evaluation seed is asked for training, or the split
            is unknown.
    """
    if seed < 0:
        raise GstoVizError(f"seed {seed} is negative; give 0 or more")
    if split == "train":
        if seed >= EVAL_SEED:
            raise GstoVizError(
                f"seed {seed} is an evaluation seed; train with one below {EVAL_SEED}"
            )
        return seed
    if split != "eval":
        raise GstoVizError(f"unknown split '{split}'; choose train or eval")
    return seed if seed >= EVAL_SEED else EVAL_SEED + seed


class Procedural:
    """``count`` images that are rendered when asked for; subclasses say which.

    Args:
        count: Number of images, from 1.
        seed: The user's seed, see ``scene_seed``.
        size: Height and width in pixels, each 64..4096.
        split: ``train`` or ``eval``.

    Raises:
        GstoVizError: An argument is out of range.
    """

    kind: ClassVar[str]
    """The first word of its SPEC."""

    def __init__(
        self,
        count: int = 64,
        seed: int = 0,
        size: tuple[int, int] = (256, 256),
        split: Split = "eval",
    ) -> None:
        if count < 1:
            raise GstoVizError(f"{self.kind}: count {count} is not possible; give 1 or more")
        check_size(*size)
        self.scene_seed = scene_seed(seed, split)
        self.seed, self.size, self._count = seed, size, count

    @property
    def name(self) -> str:
        """The SPEC that made it."""
        height, width = self.size
        return f"{self.kind}:count={self._count},seed={self.seed},size={height}x{width}"

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids, in index order."""
        return tuple(map(self.id_of, range(self._count)))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        """Render one image.

        Raises:
            IndexError: The index is not in 0..count-1.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"image {index} of {self._count}")
        return self.render(index)

    def id_of(self, index: int) -> str:
        """Return the id of an image."""
        raise NotImplementedError

    def render(self, index: int) -> Sample:
        """Render an image that there is."""
        raise NotImplementedError


class SceneDataset(Procedural):
    """``count`` procedural street scenes, rendered when asked for.

    Args:
        count: Number of images, from 1.
        seed: The user's seed, see ``scene_seed``.
        size: Height and width in pixels, each 64..4096.
        split: ``train`` or ``eval``.
        decorrelated: Draw objects whose size does not depend on their class.

    Raises:
        GstoVizError: An argument is out of range.
    """

    kind = "scenes"

    def __init__(
        self,
        count: int = 64,
        seed: int = 0,
        size: tuple[int, int] = (256, 512),
        split: Split = "eval",
        *,
        decorrelated: bool = False,
    ) -> None:
        super().__init__(count, seed, size, split)
        self.decorrelated = decorrelated

    @property
    def name(self) -> str:
        """The SPEC that made it."""
        return super().name + (",decorrelated=1" if self.decorrelated else "")

    @property
    def classes(self) -> ClassList:
        """CamVid's eleven classes."""
        return CAMVID_CLASSES

    def id_of(self, index: int) -> str:
        """Return an id: ``scene-1000000-00003`` or ``scene-decorrelated-1000000-00003``."""
        return scene_id(self.scene_seed, index, self.decorrelated)

    def render(self, index: int) -> Sample:
        """Render one scene."""
        return render_scene(self.scene_seed, index, *self.size, decorrelated=self.decorrelated)


SUBFOLDERS = ("images", "labels", "instances")


def write_scenes(
    out: str | Path, dataset: Dataset, *, overwrite: bool = False, progress: bool = False
) -> Path:
    """Write a data set with labels and instances to a folder, whole or not at all.

    The folder holds ``images/ID.png`` (8-bit RGB), ``labels/ID.png`` (8-bit class ids),
    ``instances/ID.png`` (16-bit, 0 = none) and ``classes.json``. It is filled under another name
    beside ``out`` and renamed at the end.

    Args:
        out: The folder to make.
        dataset: What to write.
        overwrite: Replace ``out`` if it is a folder that was written by this function.
        progress: Show a progress bar on stderr.

    Returns:
        The folder.

    Raises:
        GstoVizError: ``out`` is taken, an image has more than 65535 instances, or the operating
            system refused the write.
    """
    target = Path(out)
    with new_folder(target, (*SUBFOLDERS, "classes.json"), overwrite=overwrite) as work:
        for name in SUBFOLDERS:
            (work / name).mkdir()
        indices = range(len(dataset))
        for index in tqdm(indices, unit="image", file=sys.stderr, disable=not progress):
            _write_sample(work, dataset, index)
        write_json(work / "classes.json", dataset.classes.to_json())
    return target


def _write_sample(folder: Path, dataset: Dataset, index: int) -> None:
    sample = dataset[index]
    if sample.labels is None or sample.instances is None:
        raise GstoVizError(f"{sample.id} has no labels or no instances; both are written")
    write_png(folder / "images" / f"{sample.id}.png", sample.image)
    write_png(folder / "labels" / f"{sample.id}.png", sample.labels)
    write_png(folder / "instances" / f"{sample.id}.png", encode_instances(sample.instances))
