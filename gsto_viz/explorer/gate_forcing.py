"""What a network predicts when a gate is held at one value everywhere, beside what it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.attribution.interventions import constant, intervene
from gsto_viz.look import Look
from gsto_viz.models import SegmentationNetwork
from gsto_viz.network import open_network
from gsto_viz.stats.outcome import confusion_matrix, scores_of
from gsto_viz.types import IGNORE, ClassList

PLAIN: tuple[str, ...] = ()
"""No gate is held."""


@dataclass(frozen=True)
class HeldChange:
    """What holding a gate changes on one image.

    Attributes:
        changed: (H, W) True where the predicted class is another one.
        share: Share of pixels that changed, 0..1.
        logit_change: (h, w) root mean square over classes of the change of the logits, on the grid
            of the head.
        mean_change: Mean over cells and classes of the absolute change of a logit.
        largest_change: Largest absolute change of a logit.
        spread: Standard deviation of the logits as they were, the scale of the two above.
        accuracy: Share of labelled pixels that are right before and after, 0..1; None without
            labels.
        miou: Mean IoU over the classes of this image before and after, 0..1; None without labels.
        classes: One row per class that occurs in either prediction: ``class``, ``before``,
            ``after``, ``left`` and ``joined`` (pixels), ``logit`` (mean change of its logit). Of
            networks for pose one per joint, ``class`` and ``logit`` (mean change of its heat map),
            most moved first; nothing above that speaks of classes applies to them.
    """

    changed: npt.NDArray[np.bool_]
    share: float
    logit_change: npt.NDArray[np.float64]
    mean_change: float
    largest_change: float
    spread: float
    accuracy: tuple[float, float] | None
    miou: tuple[float, float] | None
    classes: pd.DataFrame


def inspect_held(
    model: SegmentationNetwork, image: npt.NDArray[np.uint8], gates: Sequence[str], value: float
) -> Look:
    """Run a network on one image while gates are held at one value everywhere.

    Args:
        model: Loaded from a checkpoint; it is as before afterwards.
        image: (H, W, 3) uint8.
        gates: Taps, e.g. ``stage3.m0.gate[2->0]``; ``PLAIN``: none, the network as it is.
        value: 0 closes their transfers, 1 makes them plain.

    Returns:
        As ``Network.look`` with logits; later gates answer to the changed features.

    Raises:
        GstoVizError: The network has no such gate.
    """
    with intervene(model, *(constant(gate, value) for gate in gates)):
        return open_network(model).look(image, logits=True)


def held_change(
    plain: Look,
    held: Look,
    classes: ClassList,
    labels: npt.NDArray[np.uint8] | None,
    *,
    pose: bool = False,
) -> HeldChange:
    """Compare what a network says with and without a gate held.

    Args:
        plain: As it is, with logits.
        held: With the gate held, with logits.
        classes: Of the network.
        labels: (H, W) of the image, of these classes; None: not annotated.
        pose: Whether the classes are joints.
    """
    assert plain.logits is not None
    assert held.logits is not None
    before = plain.logits.astype(np.float64)
    step = held.logits.astype(np.float64) - before
    changed = plain.prediction != held.prediction
    moves = step.mean(axis=(1, 2))
    if pose:
        changed[:] = False
        accuracy = miou = None
        by_class = _by_joint(moves, classes)
    else:
        accuracy, miou = _scores(plain, held, len(classes), labels)
        by_class = _by_class(plain.prediction, held.prediction, moves, classes)
    return HeldChange(
        changed=changed,
        share=float(changed.mean()),
        logit_change=np.sqrt((step**2).mean(axis=0)),
        mean_change=float(np.abs(step).mean()),
        largest_change=float(np.abs(step).max()),
        spread=float(before.std()),
        accuracy=accuracy,
        miou=miou,
        classes=by_class,
    )


def _by_joint(moves: npt.NDArray[np.float64], classes: ClassList) -> pd.DataFrame:
    order = np.argsort(-np.abs(moves), kind="stable")
    return pd.DataFrame({"class": [classes.names[k] for k in order], "logit": moves[order]})


def _by_class(
    before: npt.NDArray[np.uint8],
    after: npt.NDArray[np.uint8],
    logit: npt.NDArray[np.float64],
    classes: ClassList,
) -> pd.DataFrame:
    """Count the pixels of every class, and those that left or joined it; most moved first."""
    flow = confusion_matrix(before, after, len(classes))
    stayed = np.diag(flow)
    table = pd.DataFrame(
        {
            "class": classes.names,
            "before": flow.sum(axis=1),
            "after": flow.sum(axis=0),
            "left": flow.sum(axis=1) - stayed,
            "joined": flow.sum(axis=0) - stayed,
            "logit": logit,
        }
    )
    there = table[(table["before"] > 0) | (table["after"] > 0)]
    moved = there["left"] + there["joined"]
    return there.loc[moved.sort_values(ascending=False, kind="stable").index]


def _scores(
    plain: Look, held: Look, count: int, labels: npt.NDArray[np.uint8] | None
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    if labels is None or (labels == IGNORE).all():
        return None, None
    before, after = (
        scores_of(confusion_matrix(labels, one.prediction, count)) for one in (plain, held)
    )
    accuracy = before.pixel_accuracy / 100, after.pixel_accuracy / 100
    return accuracy, (before.miou / 100, after.miou / 100)
