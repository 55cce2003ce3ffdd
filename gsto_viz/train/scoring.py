"""Scores of a network while it is trained; the validation images are shared by all processes."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from tqdm import tqdm

from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import LogitsNotFiniteError
from gsto_viz.evaluate.counting import Options, count_images
from gsto_viz.models.hrnet import HRNet
from gsto_viz.stats.segmentation import SegmentationScores, scores_of
from gsto_viz.types import Dataset


class _StopAskedError(Exception):
    """The evaluation was asked to stop."""


def score(
    network: HRNet, val: Dataset, world: World, *, stopped: Callable[[], bool], quiet: bool
) -> SegmentationScores | None:
    """Score a network on all images at native size, single scale, one confusion matrix.

    Args:
        network: What to score.
        val: Annotated images; each process takes its share of them.
        world: The processes.
        stopped: Asked before each image: whether to give up, in any one process.
        quiet: No progress bar.

    Returns:
        The scores, the same in all processes; None if one of them was asked to stop.

    Raises:
        LogitsNotFiniteError: In all processes, if the network gives such logits in one.
        GstoVizError: An image cannot be scored.
    """

    def indices() -> Iterator[int]:
        for index in tqdm(world.share(len(val)), desc="val", disable=quiet, leave=False):
            if stopped():
                raise _StopAskedError
            yield index

    own = np.zeros((len(val.classes),) * 2, dtype=np.int64)
    error: GstoVizError | None = None
    try:
        own = count_images(network, val, Options(), indices=indices()).confusion
    except _StopAskedError:
        pass
    except GstoVizError as raised:
        error = raised
    if world.any(stopped()):
        return None
    not_finite = world.any(isinstance(error, LogitsNotFiniteError))
    if not_finite:
        raise LogitsNotFiniteError(str(error or "in another process"))
    world.agree(error)
    return scores_of(world.sum(torch.from_numpy(own)).numpy())
