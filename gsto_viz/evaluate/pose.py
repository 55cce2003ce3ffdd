"""From heat maps to persons, and from persons to COCO's scores of key points.

How maps are read and persons scored is HRNet's (Sun et al., CVPR 2019;
github.com/leoxiaobin/deep-high-resolution-net.pytorch, ``lib/core/inference.py``,
``lib/dataset/coco.py``, ``lib/nms/nms.py``). OKS is that of COCO (Lin et al., ECCV 2014), and its
scores come from COCO's own code, pycocotools.
"""

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from gsto_viz.data.masks import load_pycocotools
from gsto_viz.data.pose import PersonCrop
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.evaluation import json_records
from gsto_viz.evaluate.protocols import (
    Precision,
    autocast,
    finite,
    input_batch,
    with_mirror_image,
)
from gsto_viz.joints import SURE_PEAK, Joints
from gsto_viz.models.outputs import model_logits
from gsto_viz.regions.find import size_octaves
from gsto_viz.stats.inference import EACH, Images, mean_by_group
from gsto_viz.torch_utils import run_network
from gsto_viz.types import CROWD, FloatArray, Person, Sample

_Cells = npt.NDArray[np.int64]
FLIP_SHIFT = 1
"""Cell k lies at pixel 4 k, so a mirrored map is 3/4 of a cell off; HRNet moves it by one."""
SAME_OKS = 0.9
"""Two found persons above this OKS are one."""


@dataclass(frozen=True, eq=False)
class FoundPerson:
    """One person that a network found.

    Attributes:
        joints: (J, 3) float64: x and y in pixels of the image, and the peak of the heat map.
        score: How sure the network is of the person, for its rank among all.
        area: Pixels of the image in the frame of its crop.
    """

    joints: FloatArray
    score: float
    area: float


@torch.inference_mode()
def heat_maps(
    model: nn.Module,
    crops: Sequence[npt.NDArray[np.uint8]],
    flip_order: Sequence[int] | None = None,
    precision: Precision = "fp32",
) -> npt.NDArray[np.float32]:
    """Return the heat maps of crops of one size, (N, J, h, w).

    Args:
        model: A pose network in evaluation mode.
        crops: (H, W, 3) uint8 each.
        flip_order: For each joint the one that it is in a mirror image; maps are then the mean of
            those of a crop and, mirrored back and moved by a cell, of its mirror image. None: no
            such test.
        precision: What the network computes in where it may (autocast).

    Raises:
        LogitsNotFiniteError: A value is NaN or infinite.
        RefusedImageError: The network does not take crops of this size.
    """
    batch = torch.cat([input_batch(model, crop) for crop in crops])
    maps_of = partial(_maps, model, precision)
    if flip_order is None:
        maps = maps_of(batch)
    else:
        maps = with_mirror_image(maps_of, batch, flip_order, FLIP_SHIFT)
    found: npt.NDArray[np.float32] = finite(maps).cpu().numpy()
    return found


def _maps(model: nn.Module, precision: Precision, batch: Tensor) -> Tensor:
    with autocast(batch.device, precision):
        return model_logits(run_network(model, batch)).float()


def decode(maps: npt.NDArray[np.floating]) -> FloatArray:
    """Return where heat maps peak.

    That is the greatest cell, the first of equals, and from there a quarter of a cell towards the
    greater neighbour on each axis, where 1 < x < w - 1 and 1 < y < h - 1.

    Args:
        maps: (N, J, h, w).

    Returns:
        (N, J, 3) float64: x and y in cells, and the peak.
    """
    persons, joints, height, width = maps.shape
    place = maps.reshape(persons, joints, height * width).argmax(axis=-1)
    return _peaks(maps, place % width, place // width)


def _peaks(maps: npt.NDArray[np.floating], x: _Cells, y: _Cells) -> FloatArray:
    """Return greatest cells, (N, J) each, with their step towards the greater neighbour."""
    height, width = maps.shape[-2:]
    every = (*np.indices(x.shape), y, x)
    found = np.stack((x, y, maps[every]), axis=-1).astype(np.float64)
    n, j = np.nonzero((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1))
    y, x = y[n, j], x[n, j]
    found[n, j, 0] += 0.25 * np.sign(maps[n, j, y, x + 1] - maps[n, j, y, x - 1])
    found[n, j, 1] += 0.25 * np.sign(maps[n, j, y + 1, x] - maps[n, j, y - 1, x])
    return found


def skeletons(
    maps: npt.NDArray[np.floating],
    boxes: Sequence[tuple[float, float, float, float]],
    stride: int,
) -> FloatArray:
    """Read a skeleton per person from the heat maps of a whole image.

    Each joint lies where its map peaks within the person's box, as in ``decode``; of a box between
    cells that is the nearest cell.

    Args:
        maps: (J, h, w).
        boxes: x and y of the top left corner, width and height of each person, in pixels.
        stride: Pixels of the image per cell; cell k lies at pixel ``stride`` * k.

    Returns:
        (P, J, 3) float64: x and y in pixels of the image, and the peak.
    """
    joints, height, width = maps.shape
    x, y = np.zeros((2, len(boxes), joints), dtype=np.int64)
    for k, (left, top, wide, high) in enumerate(boxes):
        x0, x1 = _cells(left, wide, stride, width)
        y0, y1 = _cells(top, high, stride, height)
        place = maps[:, y0:y1, x0:x1].reshape(joints, -1).argmax(axis=-1)
        rows, columns = np.divmod(place, x1 - x0)
        y[k], x[k] = y0 + rows, x0 + columns
    found = _peaks(np.broadcast_to(maps, (len(boxes), *maps.shape)), x, y)
    found[..., :2] *= stride
    return found


def _cells(start: float, extent: float, stride: int, count: int) -> tuple[int, int]:
    """Return the first cell whose place lies in a stretch of pixels, and that behind the last."""
    first, last = math.ceil(start / stride), math.floor((start + extent) / stride)
    if last < first:
        first = last = round((start + extent / 2) / stride)
    first, last = (min(max(one, 0), count - 1) for one in (first, last))
    return first, last + 1


def person_boxes(sample: Sample) -> tuple[tuple[float, float, float, float], ...]:
    """Return the boxes of an image's persons without crowds; unannotated, that of the image."""
    if sample.people is None:
        height, width = sample.image.shape[:2]
        return ((0.0, 0.0, float(width), float(height)),)
    return tuple(one.box for one in sample.people if one.instance != CROWD)


def found_people(
    maps: npt.NDArray[np.floating],
    crops: Sequence[PersonCrop],
    stride: int,
    box_scores: Sequence[float] | None = None,
) -> tuple[FoundPerson, ...]:
    """Read persons from the heat maps of their crops.

    Args:
        maps: (N, J, h, w).
        crops: Where each crop lies in its image.
        stride: Pixels of the crop per cell.
        box_scores: How sure their detector is of the boxes; None: boxes are annotated, 1 each.

    Returns:
        A person each, whose score is that of its box times ``joint_score``.
    """
    sure = [1.0] * len(crops) if box_scores is None else box_scores
    people = []
    for joints, crop, score in zip(decode(maps), crops, sure, strict=True):
        joints[:, :2] = crop.to_image(stride * joints[:, :2])
        people.append(FoundPerson(joints, score * joint_score(joints[:, 2]), crop.area))
    return tuple(people)


def joint_score(peaks: FloatArray) -> float:
    """Return the mean of the peaks above 0.2, of one person; 0 where there is none."""
    sure = peaks[peaks > SURE_PEAK]
    return float(sure.mean()) if len(sure) else 0.0


def oks(joints: FloatArray, person: Person, sigmas: Sequence[float]) -> FloatArray:
    """Return the object keypoint similarity of found joints to an annotated person.

    It is the mean over the person's annotated joints of exp(-d^2 / (2 s^2 k^2)), with k = 2 sigma
    and s^2 the person's area.

    Args:
        joints: (N, J, 2 or more): x and y in pixels of the image.
        person: The annotation.
        sigmas: (J,) as in ``Joints``.

    Returns:
        (N,) from 0 to 1.

    Raises:
        GstoVizError: No joint of the person is annotated.
    """
    annotated = person.joints[:, 2] > 0
    if not annotated.any():
        raise GstoVizError("a person without annotated joints has no OKS; leave it out")
    places = person.joints[:, :2].astype(np.float64)
    near = _similarity(joints[..., :2] - places, person.area, sigmas)
    return np.asarray(near[..., annotated].mean(axis=-1))


def _similarity(away: FloatArray, area: float, sigmas: Sequence[float]) -> FloatArray:
    """Return exp(-d^2 / (2 s^2 k^2)) of distances (..., J, 2)."""
    wide = 2 * (area + np.spacing(1)) * (2 * np.array(sigmas)) ** 2
    return np.asarray(np.exp(-(away**2).sum(axis=-1) / wide))


def oks_nms(
    found: Sequence[FoundPerson], sigmas: Sequence[float], threshold: float = SAME_OKS
) -> tuple[FoundPerson, ...]:
    """Keep the surest of persons that are one, by OKS over all joints and the mean of their areas.

    Args:
        found: Those of one image.
        sigmas: (J,) as in ``Joints``.
        threshold: A person above this OKS to a surer one that is kept is dropped.

    Returns:
        Those that are kept, the surest first; the first of equals.
    """
    kept: list[FoundPerson] = []
    for one in sorted(found, key=lambda person: -person.score):
        if all(_pair_oks(one, other, sigmas) <= threshold for other in kept):
            kept.append(one)
    return tuple(kept)


def _pair_oks(one: FoundPerson, other: FoundPerson, sigmas: Sequence[float]) -> float:
    away = one.joints[:, :2] - other.joints[:, :2]
    return float(_similarity(away, (one.area + other.area) / 2, sigmas).mean())


@dataclass(frozen=True, eq=False)
class KeypointScores:
    """COCO's scores of key points, 0 to 1, and OKS by the size of persons.

    Attributes:
        ap: Average precision, mean over OKS thresholds .50, .55 ... .95.
        ap50: At .50.
        ap75: At .75.
        ap_medium: As ``ap``, of persons from 32^2 to 96^2 pixels; None where there are none.
        ap_large: As ``ap``, of persons from 96^2 pixels on; None where there are none.
        ar: Average recall, mean over the same thresholds.
        images: Number of images.
        people: Persons with annotated joints; others are neither right nor missed.
        sizes: By size octave, the floor of log2 sqrt(area): ``octave``, ``mean`` (OKS, over persons
            and then over images), ``low``, ``high`` (95 %), ``n_people``, ``n_images``, ``reason``.
            Persons that are not found have OKS 0.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_medium: float | None
    ap_large: float | None
    ar: float | None
    images: int
    people: int
    sizes: pd.DataFrame

    def percent(self) -> dict[str, float | None]:
        """Return the scores by name, in percent."""
        values = {name: getattr(self, name) for name in _STATS}
        return {name: None if one is None else 100 * one for name, one in values.items()}

    def to_json(self) -> dict[str, Any]:
        """Return plain values; scores are in percent, OKS from 0 to 1."""
        sizes = {"sizes_in": "pixels of the image", "sizes": json_records(self.sizes)}
        return {**self.percent(), "images": self.images, "people": self.people, **sizes}


_STATS = {"ap": 0, "ap50": 1, "ap75": 2, "ap_medium": 3, "ap_large": 4, "ar": 5}
"""Place of each score among those of COCO's code."""


def keypoint_scores(
    truth: Mapping[str, Sequence[Person]],
    found: Mapping[str, Sequence[FoundPerson]],
    joints: Joints,
    images: Images = EACH,
) -> KeypointScores:
    """Score found persons as COCO does.

    Args:
        truth: Annotated persons by image; images without persons belong to it, too.
        found: Found persons by image; at most the 20 surest of an image count.
        joints: Which joints there are.
        images: Which images are independent, for intervals.

    Raises:
        GstoVizError: pycocotools is not installed, an image is in ``found`` alone, a person has
            another number of joints or no area, or no joint of any is annotated.
    """
    _check(truth, found, joints)
    sizes = _oks_by_size(truth, found, joints, images)
    stats = _coco_stats(truth, found, joints)
    return KeypointScores(
        **{name: None if stats[k] < 0 else float(stats[k]) for name, k in _STATS.items()},
        images=len(truth),
        people=int(sizes["n_people"].sum()),
        sizes=sizes,
    )


def _check(
    truth: Mapping[str, Sequence[Person]],
    found: Mapping[str, Sequence[FoundPerson]],
    joints: Joints,
) -> None:
    """Refuse what cannot be scored."""
    if unknown := [name for name in found if name not in truth]:
        raise GstoVizError(f"image '{unknown[0]}' has found persons and no annotation; give both")
    for name, people in truth.items():
        numbers = {len(person.joints) for person in people}
        numbers |= {len(person.joints) for person in found.get(name, ())}
        if wrong := numbers - {len(joints)}:
            raise GstoVizError(
                f"a person of image '{name}' has {min(wrong)} joints, not {len(joints)}; take data "
                "with the network's joints"
            )
        if not all(person.area > 0 for person in people):
            raise GstoVizError(f"a person of image '{name}' has no area; leave it out")
    if not any(is_sought(person) for people in truth.values() for person in people):
        raise GstoVizError("no image has a person with an annotated joint; check the annotation")


def is_sought(person: Person) -> bool:
    """Return whether a person is to be found; crowds and persons without joints are not."""
    return person.instance != CROWD and bool((person.joints[:, 2] > 0).any())


def _oks_by_size(
    truth: Mapping[str, Sequence[Person]],
    found: Mapping[str, Sequence[FoundPerson]],
    joints: Joints,
    images: Images,
) -> pd.DataFrame:
    """Give each annotated person a found one, so that their OKS add up to most; average them."""
    rows = []
    for name, people in truth.items():
        counted = [person for person in people if is_sought(person)]
        others = np.array([one.joints for one in found.get(name, ())])
        best = np.zeros(len(counted))
        if counted and len(others):
            table = np.stack([oks(others, person, joints.sigmas) for person in counted])
            mine, theirs = linear_sum_assignment(table, maximize=True)
            best[mine] = table[mine, theirs]
        octaves = np.floor(size_octaves(np.array([person.area for person in counted])))
        rows += [(name, int(o), value) for o, value in zip(octaves, best, strict=True)]
    frame = pd.DataFrame(rows, columns=["image", "octave", "oks"])
    sizes = mean_by_group(frame, ["octave"], ["oks"], images=images)
    return sizes.drop(columns="measure").rename(columns={"n_regions": "n_people"})


def _coco_stats(
    truth: Mapping[str, Sequence[Person]],
    found: Mapping[str, Sequence[FoundPerson]],
    joints: Joints,
) -> Sequence[float]:
    """Return the ten numbers of COCO's code."""
    number = {name: k for k, name in enumerate(truth, 1)}
    annotated = [
        {
            "image_id": number[name],
            "keypoints": _flat(person.joints),
            "num_keypoints": int((person.joints[:, 2] > 0).sum()),
            "bbox": list(person.box),
            "area": person.area,
            "iscrowd": int(person.instance == CROWD),
        }
        for name, people in truth.items()
        for person in people
    ]
    # As COCO's reader of results has it: the area of a found person is that around its joints.
    results = [
        {
            "image_id": number[name],
            "keypoints": _flat(person.joints),
            "area": float(np.prod(np.ptp(person.joints[:, :2], axis=0))),
            "score": person.score,
        }
        for name, people in found.items()
        for person in people
    ]
    needed = "scores of key points need"
    coco, cocoeval = (load_pycocotools(module, needed) for module in ("coco", "cocoeval"))
    with redirect_stdout(io.StringIO()):  # it reports every step
        sides = [_indexed(coco, len(number), rows) for rows in (annotated, results)]
        evaluation = cocoeval.COCOeval(*sides, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(joints.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats: Sequence[float] = evaluation.stats.tolist()
    return stats


def _flat(joints: npt.NDArray[np.floating]) -> list[float]:
    values: list[float] = joints.astype(np.float64).ravel().tolist()
    return values


def _indexed(coco: Any, images: int, rows: Sequence[dict[str, Any]]) -> Any:
    """Return annotations as COCO's code reads them, without files; ids from 1, since 0 is none."""
    api = coco.COCO()
    api.dataset = {
        "images": [{"id": k} for k in range(1, images + 1)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{**row, "id": k, "category_id": 1} for k, row in enumerate(rows, 1)],
    }
    api.createIndex()
    return api
