"""Scores of one network on one data set, from counts of all its images."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import nn

from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.counting import (
    Options,
    Rows,
    Sink,
    Tally,
    boundary_ratio,
    count_images,
)
from gsto_viz.evaluate.protocols import SINGLE, Protocol
from gsto_viz.joints import joints_of
from gsto_viz.models.base import ModelInfo, SegmentationNetwork, task_of
from gsto_viz.regions.find import MIN_AREA_PX, coco_bins, size_octaves
from gsto_viz.stats.inference import Estimate, Images, image_mean_estimate
from gsto_viz.stats.outcome import (
    COUNTS,
    CityscapesScores,
    SegmentationScores,
    cityscapes_scores,
    class_scores,
    image_scores,
    is_cityscapes,
    outcome_by_size,
    scores_of,
)
from gsto_viz.types import ClassList, Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OutcomeScores:
    """Scores at boundaries, per image and by object size, in percent.

    Attributes:
        boundary_ratio: Width of a boundary as a share of the image diagonal.
        boundary_iou: Boundary IoU of each class over the data set; None where it does not occur.
        image_miou: Mean over images of the mean IoU of the classes of an image.
        sizes: By size octave: ``measure``, ``octave``, ``mean``, ``low``, ``high`` (95 %),
            ``n_regions``, ``n_images``, ``reason``; sizes are in pixels of the label map.
        coco_bins: The same with ``coco_bin`` (small, medium, large) in place of ``octave``.
    """

    boundary_ratio: float
    boundary_iou: tuple[float | None, ...]
    image_miou: Estimate
    sizes: pd.DataFrame
    coco_bins: pd.DataFrame

    @property
    def mean_boundary_iou(self) -> float | None:
        """Mean over the classes that occur."""
        values = [v for v in self.boundary_iou if v is not None]
        return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class Evaluation:
    """Scores of one network on one data set.

    Attributes:
        data: Name of the data set.
        images: Number of images that count.
        classes: Classes of the confusion matrix.
        confusion: (K, K) int64 pixel counts, true x predicted, over the whole data set.
        scores: What follows from it, in percent.
        protocol: How images were looked at.
        skipped: Ids of images that could not be read, and why.
        outcome: Scores at boundaries and by object size, where asked for.
        cityscapes: Categories and iIoU, for the classes of Cityscapes.
    """

    data: str
    images: int
    classes: ClassList
    confusion: npt.NDArray[np.int64]
    scores: SegmentationScores
    protocol: Protocol = SINGLE
    skipped: tuple[tuple[str, str], ...] = ()
    outcome: OutcomeScores | None = None
    cityscapes: CityscapesScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; ``miou`` and the other scores are in percent."""
        scores, outcome = self.scores, self.outcome
        classes = [
            {"id": c.id, "name": c.name, "iou": i, "accuracy": a, "pixels": p}
            for c, i, a, p in zip(
                self.classes, scores.iou, scores.accuracy, scores.pixels, strict=True
            )
        ]
        value: dict[str, Any] = {
            "data": self.data,
            "protocol": self.protocol.to_json(),
            "images": self.images,
            "skipped": [{"id": id_, "reason": reason} for id_, reason in self.skipped],
            "miou": scores.miou,
            "pixel_accuracy": scores.pixel_accuracy,
            "mean_accuracy": scores.mean_accuracy,
            "classes": classes,
            "confusion": self.confusion.tolist(),
        }
        if outcome is not None:
            for entry, boundary_iou in zip(classes, outcome.boundary_iou, strict=True):
                entry["boundary_iou"] = boundary_iou
            value["boundary_iou"] = outcome.mean_boundary_iou
            value["boundary_ratio"] = outcome.boundary_ratio
            value["image_miou"] = asdict(outcome.image_miou)
            value["sizes_in"] = "pixels of the label map"
            value["sizes"] = json_records(outcome.sizes)
            value["coco_bins"] = json_records(outcome.coco_bins)
        if self.cityscapes is not None:
            value["cityscapes"] = asdict(self.cityscapes)
        return value


def json_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values, null for NaN."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(k): v for k, v in row.items()} for row in rows]


def adopt_classes(model: nn.Module, data: Dataset) -> None:
    """Give a network whose file names no classes those of a data set with as many, and say so."""
    info = model.info if isinstance(model, SegmentationNetwork) else None
    if not isinstance(model, SegmentationNetwork) or info is None or not info.classes.is_numbered:
        return
    if len(info.classes) == len(data.classes) and not data.classes.is_numbered:
        model.info = replace(info, classes=data.classes)
        names = ", ".join(data.classes.names)
        logger.warning("%s names no classes; taken as those of %s: %s", info.name, data.name, names)


def check_classes(model: nn.Module, data: Dataset) -> None:
    """Refuse data whose classes are not those that a network was trained on, in name or order.

    A network that only numbers its classes takes those of the data; see ``adopt_classes``. Of a
    network for pose, joints are compared, and data without any pass.

    Raises:
        GstoVizError: With the first difference. A network that says nothing of its classes passes.
    """
    one, many, known = "class", "classes", data.classes
    if task_of(model) == "pose":
        joints = joints_of(data)
        if joints is None:
            return
        one, many, known = "joint", "joints", joints.classes
    else:
        adopt_classes(model, data)
    info = getattr(model, "info", None)
    if not isinstance(info, ModelInfo):
        return
    ours, theirs = info.classes.names, known.names
    advice = f"take data of the {many} that it was trained on"
    if len(ours) != len(theirs):
        raise GstoVizError(
            f"the network has {len(ours)} {many} and {data.name} has {len(theirs)}; {advice}"
        )
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.casefold() != b.casefold():
            raise GstoVizError(
                f"{one} {k} is '{a}' for {info.name} and '{b}' in {data.name}; {advice}"
            )


def tally_images(
    model: nn.Module,
    data: Dataset,
    options: Options | None = None,
    *,
    indices: Iterable[int] | None = None,
    world: World = ALONE,
    sink: Sink | None = None,
    progress: Callable[[], object] | None = None,
) -> Tally:
    """Predict and count the images of a data set, each in one of the processes of ``world``.

    Arguments and errors as for :func:`evaluate`; every process gets all counts. An error in one
    process is raised in all.
    """
    with world.together():
        if task_of(model) == "pose":
            raise GstoVizError("a network for pose gives no classes; evaluate_pose scores it")
        check_classes(model, data)
        tally = count_images(
            model,
            data,
            options or Options(),
            indices=world.share(len(data)) if indices is None else indices,
            sink=sink,
            progress=progress,
        )
    return tally.added_over(world)


def evaluate(
    model: nn.Module,
    data: Dataset,
    options: Options | None = None,
    *,
    indices: Iterable[int] | None = None,
    world: World = ALONE,
    progress: Callable[[], object] | None = None,
) -> Evaluation:
    """Score a network on the images of a data set.

    The network is in evaluation mode meanwhile; afterwards every part of it is in the mode that it
    was in, also when an image cannot be scored.

    Args:
        model: A network with as many classes as the data set.
        data: Annotated images, of any sizes.
        options: How they are scored; None is native size, single scale, no flip.
        indices: Images to use, e.g. wrapped in a progress bar; None takes all, each process its
            share. Given indices are those of this process.
        world: The processes that share the work; all get the same result.
        progress: Called after every image of this process.

    Raises:
        GstoVizError: The classes differ, an image has no labels or is too small, logits are not
            finite, or no image has a labelled pixel.
    """
    tally = tally_images(model, data, options, indices=indices, world=world, progress=progress)
    return evaluation_of(tally, data, options)


def evaluation_of(tally: Tally, data: Dataset, options: Options | None = None) -> Evaluation:
    """Turn counts into scores.

    Raises:
        GstoVizError: No image could be read, or none has a labelled pixel.
    """
    options = options or Options()
    if tally.skipped and not len(tally.images):
        first = next(iter(tally.skipped.values()))
        raise GstoVizError(f"none of {len(tally.skipped)} images can be scored, first: {first}")
    labelled = tally.images[tally.images[:, 1] == 1]
    cityscapes = None
    if is_cityscapes(data.classes.names):
        reason = _no_instances(tally, labelled, data)
        scores = cityscapes_scores(tally.confusion, None if reason else tally.instances[:, 1:])
        cityscapes = replace(scores, iiou_reason=reason)
    return Evaluation(
        data=data.name,
        images=len(labelled),
        classes=data.classes,
        confusion=tally.confusion,
        scores=scores_of(tally.confusion),
        protocol=options.protocol,
        skipped=tuple((data.ids[index], why) for index, why in tally.skipped.items()),
        outcome=_outcome_scores(tally, data) if options.outcome else None,
        cityscapes=cityscapes,
    )


def _no_instances(tally: Tally, labelled: Rows, data: Dataset) -> str | None:
    """Return why instances of Cityscapes cannot be scored; None where they can."""
    without = int((labelled[:, 2] == 0).sum())
    if without:
        return f"{without} of {len(labelled)} images have no instance map of 16 bits"
    things = [info.id for info in data.classes if info.thing]
    if not len(tally.instances) and tally.confusion[things].any():
        return "no instance map numbers a thing (1000 x label id + number), though things occur"
    return None


def _outcome_scores(tally: Tally, data: Dataset) -> OutcomeScores:
    """Turn counts of regions and classes into scores in percent."""
    images = Images({data.ids[index]: group for index, group in tally.groups.items()})
    classes = _frame(tally.classes, "class_id", data)
    regions = _frame(tally.regions, "region", data)
    area = regions["area_px"].to_numpy()
    table = regions[["image", "region"]].assign(
        size_octave=size_octaves(area), coco_bin=coco_bins(area), qualifies=area >= MIN_AREA_PX
    )
    by_class = class_scores(classes).set_index("class_id")["boundary_iou"]
    by_image = image_scores(classes)
    return OutcomeScores(
        boundary_ratio=boundary_ratio(data.classes.names),
        boundary_iou=tuple(_percent(by_class.get(k)) for k in range(len(data.classes))),
        image_miou=image_mean_estimate(
            by_image["image"].tolist(),
            100 * by_image["miou"].to_numpy(dtype=np.float64),
            0,
            images,
        ),
        sizes=_percent_rows(outcome_by_size(regions, table, by="octave", images=images)),
        coco_bins=_percent_rows(outcome_by_size(regions, table, by="coco_bin", images=images)),
    )


def _frame(rows: Rows, key: str, data: Dataset) -> pd.DataFrame:
    """Return counts as the tables that ``stats.outcome`` reads, images by name."""
    frame = pd.DataFrame(rows[:, 1:], columns=[key, *COUNTS])
    names = pd.Series([data.ids[index] for index in rows[:, 0].tolist()], dtype=str)
    frame.insert(0, "image", names)
    return frame


def _percent(share: float | None) -> float | None:
    return None if share is None or np.isnan(share) else 100 * float(share)


def _percent_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{name: 100 * frame[name] for name in ("mean", "low", "high")})
