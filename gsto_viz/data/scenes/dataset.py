"""Procedural scenes as a data set, with training and evaluation seeds kept apart."""

from typing import Literal

from gsto_viz.data.classes import CAMVID_CLASSES
from gsto_viz.data.scenes.render import check_size, render_scene, scene_id
from gsto_viz.errors import GstoVizError
from gsto_viz.types import ClassList, Sample

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
        raise GstoVizError(f"scenes: seed {seed} is negative; give 0 or more")
    if split == "train":
        if seed >= EVAL_SEED:
            raise GstoVizError(
                f"scenes: seed {seed} is an evaluation seed; train with one below {EVAL_SEED}"
            )
        return seed
    if split != "eval":
        raise GstoVizError(f"scenes: unknown split '{split}'; choose train or eval")
    return seed if seed >= EVAL_SEED else EVAL_SEED + seed


class SceneDataset:
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

    def __init__(
        self,
        count: int = 64,
        seed: int = 0,
        size: tuple[int, int] = (256, 512),
        split: Split = "eval",
        *,
        decorrelated: bool = False,
    ) -> None:
        if count < 1:
            raise GstoVizError(f"scenes: count {count} is not possible; give 1 or more")
        check_size(*size)
        self.scene_seed = scene_seed(seed, split)
        self.seed, self.size, self._count = seed, size, count
        self.decorrelated = decorrelated

    @property
    def name(self) -> str:
        """The SPEC that made it."""
        height, width = self.size
        kind = ",decorrelated=1" if self.decorrelated else ""
        return f"scenes:count={self._count},seed={self.seed},size={height}x{width}{kind}"

    @property
    def classes(self) -> ClassList:
        """CamVid's eleven classes."""
        return CAMVID_CLASSES

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids such as ``scene-1000000-00003`` or ``scene-decorrelated-1000000-00003``."""
        return tuple(scene_id(self.scene_seed, k, self.decorrelated) for k in range(self._count))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        """Render one scene.

        Raises:
            IndexError: The index is not in 0..count-1.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"scene {index} of {self._count}")
        return render_scene(self.scene_seed, index, *self.size, decorrelated=self.decorrelated)
