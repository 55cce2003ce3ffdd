"""From heat maps to persons and scores: by loops, and against COCO's own code on files."""

import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from gsto_viz.data import person_crop
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import (
    FoundPerson,
    LogitsNotFiniteError,
    decode,
    found_people,
    heat_maps,
    keypoint_scores,
    oks,
    oks_nms,
    person_boxes,
    skeletons,
)
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.models import SegmentationOutput
from gsto_viz.models.joint_loss import joint_targets
from gsto_viz.types import CROWD, Person, Sample

SIGMAS = COCO_JOINTS.sigmas
ORDER = COCO_JOINTS.classes.flip_order
Truth = Mapping[str, Sequence[Person]]
Found = Mapping[str, Sequence[FoundPerson]]


def literal_peak(heat: list[list[float]]) -> tuple[float, float, float]:
    """The first greatest cell, row by row, and a quarter of a cell from there."""
    height, width = len(heat), len(heat[0])
    best, x, y = -math.inf, 0, 0
    for row in range(height):
        for column in range(width):
            if heat[row][column] > best:
                best, x, y = heat[row][column], column, row
    place = [float(x), float(y)]
    if 1 < x < width - 1 and 1 < y < height - 1:
        for axis, (dx, dy) in enumerate(((1, 0), (0, 1))):
            after, before = heat[y + dy][x + dx], heat[y - dy][x - dx]
            place[axis] += 0.25 if after > before else -0.25 if after < before else 0.0
    return place[0], place[1], best


def test_maps_are_decoded_as_by_loops() -> None:
    """Small whole numbers, so that equal cells and equal neighbours occur, and every border."""
    maps = np.random.default_rng(0).integers(-3, 9, (40, 5, 7, 6)).astype(np.float32)
    found = decode(maps)
    assert found.shape == (40, 5, 3)
    for n, j in np.ndindex(40, 5):
        assert tuple(found[n, j]) == literal_peak(maps[n, j].tolist())


def test_skeletons_of_a_whole_image_are_read_as_by_loops_over_the_pixels_of_each_box() -> None:
    """A cell is a person's where its place in the image lies in the box, borders included."""
    rng = np.random.default_rng(3)
    maps = rng.integers(-3, 9, (4, 8, 11)).astype(np.float32)
    boxes = [(0.0, 0.0, 44.0, 32.0), (5.5, 3.0, 14.0, 9.0), (8.0, 8.0, 0.0, 0.0), (17.2, 9.1, 1, 2)]
    boxes += [(-9.0, -9.0, 12.5, 30.0), (38.0, 25.0, 30.0, 30.0)]
    found = skeletons(maps, boxes, 4)
    assert found.shape == (6, 4, 3)
    for person, (left, top, wide, high) in enumerate(boxes):
        cells = [
            (row, column)
            for row in range(8)
            for column in range(11)
            if left <= 4 * column <= left + wide and top <= 4 * row <= top + high
        ]
        cells = cells or [(round((top + high / 2) / 4), round((left + wide / 2) / 4))]
        for joint in range(4):
            row, column = max(cells, key=lambda at: maps[joint, at[0], at[1]])
            place = [column, row]
            if 1 < column < 10 and 1 < row < 7:
                step = np.sign(maps[joint, row, column + 1] - maps[joint, row, column - 1])
                fall = np.sign(maps[joint, row + 1, column] - maps[joint, row - 1, column])
                place = [column + step / 4, row + fall / 4]
            expected = [4 * place[0], 4 * place[1], maps[joint, row, column]]
            assert found[person, joint].tolist() == expected
    assert skeletons(maps, [], 4).shape == (0, 4, 3)


def test_drawn_joints_come_back_from_maps_of_the_whole_image() -> None:
    joints = np.array([[20.0, 12.0, 2], [44.0, 36.0, 2]], dtype=np.float32)
    heat, _ = joint_targets(torch.from_numpy(joints[None]), (16, 16), 4, 1.0)
    (found,) = skeletons(heat[0].numpy(), [(0.0, 0.0, 64.0, 64.0)], 4)
    np.testing.assert_allclose(found[:, :2], joints[:, :2], atol=1e-6)
    np.testing.assert_allclose(found[:, 2], 1)


def test_persons_without_annotation_have_the_whole_image_and_crowds_no_box() -> None:
    image = np.zeros((6, 8, 3), dtype=np.uint8)
    joints = np.zeros((17, 3), dtype=np.float32)
    one, crowd = Person(joints, (1, 2, 3, 4), 12, 1), Person(joints, (0, 0, 8, 6), 48, CROWD)
    assert person_boxes(Sample("a", image, None)) == ((0, 0, 8, 6),)
    assert person_boxes(Sample("a", image, None, people=())) == ()
    assert person_boxes(Sample("a", image, None, people=(crowd, one))) == ((1, 2, 3, 4),)


def test_a_target_is_decoded_to_its_joint() -> None:
    """A drawn Gaussian is symmetric: it gives back its cell, half a cell from the joint at most."""
    places = torch.rand(1, 17, 2, generator=torch.Generator().manual_seed(0)) * 180 + 2
    joints = torch.cat((places, torch.full((1, 17, 1), 2.0)), dim=-1)
    maps, _ = joint_targets(joints, (48, 48), 4, 2.0)
    found = decode(maps.numpy())
    assert np.abs(4 * found[..., :2] - joints[..., :2].numpy()).max() <= 2.0
    assert (found[..., 2] == 1).all()


def test_people_are_back_in_their_image() -> None:
    """Whatever the frame, a joint comes back to within half a cell of the map, in image pixels."""
    rng = np.random.default_rng(2)
    boxes = [(30.0, 20.0, 60.0, 100.0), (200.0, 10.0, 30.0, 40.0)]
    crops = [
        replace(person_crop(boxes[0], (64, 48)), rotation=25.0),
        person_crop(boxes[1], (64, 48)),
    ]
    people = [
        np.column_stack((crop.to_image(rng.uniform(8, 40, (17, 2))), np.full(17, 2)))
        for crop in crops
    ]
    placed = [
        crop.place(joints.astype(np.float32), ORDER)
        for crop, joints in zip(crops, people, strict=True)
    ]
    maps, _ = joint_targets(torch.from_numpy(np.stack(placed)), (16, 12), 4, 2.0)
    found = found_people(0.7 * maps.numpy(), crops, 4, [0.5, 1.0])
    for one, joints, crop in zip(found, people, crops, strict=True):
        half_cell = 2.0 * crop.extent / 48 * math.sqrt(2)
        away = np.hypot(*(one.joints[:, :2] - joints[:, :2]).T)
        assert away.max() <= half_cell + 1e-4
        assert one.area == crop.area
    assert [one.score for one in found] == pytest.approx([0.35, 0.7])


def test_the_score_of_a_person_is_the_mean_of_its_sure_joints() -> None:
    maps = np.zeros((2, 4, 8, 8), np.float32)
    maps[0, :, 3, 3] = 0.9, 0.21, 0.19, -0.5
    crops = [person_crop((0, 0, 20, 20), (32, 32))] * 2
    assert [one.score for one in found_people(maps, crops, 4)] == pytest.approx([0.555, 0.0])


class Bright(nn.Module):
    """Heat maps of an image's own channels, every fourth pixel: stride 4, three joints."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> SegmentationOutput:
        self.seen.append(tuple(x.shape))
        return SegmentationOutput(x[..., ::4, ::4], {})


def test_the_flip_test_moves_the_mirror_image_to_where_it_was() -> None:
    """Joints 1 and 2 are left and right. A spot of cell 5 is on cell 11 - 5 - 3/4 mirrored."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[15:18, 18:23] = 255, 120, 60  # covers pixel 20 = cell 5, and pixel 19 = 47 - 4 * 7
    network, order = Bright(), (0, 2, 1)
    plain = heat_maps(network, [image, image])
    assert plain.shape == (2, 3, 8, 12)
    assert network.seen == [(2, 3, 32, 48)]
    assert decode(plain)[0, 0, :2].tolist() == [5, 4]
    got = heat_maps(network, [image], order)[0]
    mirrored = heat_maps(network, [np.ascontiguousarray(image[:, ::-1])])[0]
    for j, row, column in np.ndindex(3, 8, 12):
        source = max(column - 1, 0)  # one cell to the right; the first stays
        other = mirrored[order[j], row, 11 - source]
        expected = (plain[0, j, row, column] + other) / 2
        assert got[j, row, column] == pytest.approx(expected, abs=1e-6)
    assert decode(got[None])[0, 0, :2].tolist() == [5, 4]


def test_a_mirrored_target_is_decoded_within_half_a_cell() -> None:
    """A perfect network on the mirror image: its map, put back, peaks where the joint is."""
    joints = torch.tensor([[[float(x), 30.0, 2.0] for x in range(20, 36)]])
    mirrored = joints.clone()
    mirrored[..., 0] = 95 - joints[..., 0]
    there, _ = joint_targets(joints, (16, 24), 4, 2.0)
    back = joint_targets(mirrored, (16, 24), 4, 2.0)[0].flip(-1)
    moved = torch.cat((back[..., :1], back[..., :-1]), dim=-1)
    found = decode(((there + moved) / 2).numpy())[0]
    assert np.abs(found[:, 0] - joints[0, :, 0].numpy() / 4).max() <= 0.5
    unmoved = decode(((there + back) / 2).numpy())[0]
    error, worse = (np.abs(f[:, 0] - joints[0, :, 0].numpy() / 4).mean() for f in (found, unmoved))
    assert error < worse


def test_heat_maps_that_are_not_finite_are_refused() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., ::4, ::4] * math.nan

    with pytest.raises(LogitsNotFiniteError, match="not finite"):
        heat_maps(Broken(), [np.zeros((8, 8, 3), np.uint8)])


def person(seed: int, area: float = 2500.0, annotated: int = 17, **others: object) -> Person:
    """A person of this area somewhere in an image, with some joints annotated."""
    rng = np.random.default_rng(seed)
    side = math.sqrt(area)
    corner = rng.uniform(0, 300, 2)
    joints = np.zeros((17, 3), np.float32)
    chosen = rng.permutation(17)[:annotated]
    joints[chosen, :2] = corner + rng.uniform(0, side, (annotated, 2))
    joints[chosen, 2] = rng.integers(1, 3, annotated)
    return Person(joints, (*corner.tolist(), side, side), area, **others)


def found_at(one: Person, score: float, shift: float = 0.0, seed: int = 0) -> FoundPerson:
    """The person's joints, displaced by so many pixels on each axis, and made up where unknown."""
    joints = one.joints.astype(np.float64)
    unknown = joints[:, 2] == 0
    box = np.array(one.box)
    made_up = box[:2] + np.random.default_rng(seed).uniform(0, box[2:], (17, 2))
    joints[:, :2] = np.where(unknown[:, None], made_up, joints[:, :2] + shift)
    joints[:, 2] = score
    return FoundPerson(joints, score, one.area)


def coco_on_files(
    truth: Truth, found: Found, folder: Path, sigmas: Sequence[float] = SIGMAS
) -> COCOeval:
    """COCO's evaluation as everyone runs it: two JSON files and its own reader of results."""
    numbers = {name: 100 + k for k, name in enumerate(truth)}
    rows = [
        {
            "id": 1 + k,
            "image_id": numbers[name],
            "category_id": 1,
            "keypoints": one.joints.ravel().tolist(),
            "num_keypoints": int(np.count_nonzero(one.joints[:, 2])),
            "bbox": list(one.box),
            "area": one.area,
            "iscrowd": int(one.instance == CROWD),
        }
        for k, (name, one) in enumerate((n, p) for n, people in truth.items() for p in people)
    ]
    results = [
        {
            "image_id": numbers[name],
            "category_id": 1,
            "keypoints": one.joints.ravel().tolist(),
            "score": one.score,
        }
        for name, people in found.items()
        for one in people
    ]
    images = [{"id": k} for k in numbers.values()]
    content = {"images": images, "categories": [{"id": 1}], "annotations": rows}
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(results))
    with redirect_stdout(io.StringIO()):
        api = COCO(folder / "truth.json")
        evaluation = COCOeval(api, api.loadRes(str(folder / "found.json")), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def cases() -> dict[str, tuple[Truth, Found]]:
    """Hand-made cases on five images: medium and large persons, one without joints, a crowd."""
    truth = {
        "a": [person(1), person(2, 40_000.0, 12)],
        "b": [person(3, 3000.0, 5), person(4, annotated=0), person(5, annotated=0, instance=CROWD)],
        "c": [],
        "d": [person(6, 12_000.0)],
        "e": [person(7, 1500.0, 9)],
    }
    everyone = [(name, one) for name, people in truth.items() for one in people]
    real = [(name, one) for name, one in everyone if one.joints[:, 2].any()]

    def found(shift: float, leave: int = 0) -> dict[str, list[FoundPerson]]:
        result: dict[str, list[FoundPerson]] = {}
        for k, (name, one) in enumerate(real[leave:]):
            result.setdefault(name, []).append(found_at(one, 0.9 - 0.1 * k, shift, k))
        return result

    false = found(0.0)
    false["c"] = [found_at(person(30), 0.95), found_at(person(31), 0.05)]
    mixed = found(0.0, leave=1)
    crowd = [found_at(person(5), 0.99), found_at(person(5), 0.98, 5.0)]  # neither is false
    mixed["b"] += [*crowd, found_at(person(8), 0.65)]
    mixed["d"] = [found_at(real[3][1], 0.5, shift) for shift in (0.0, 3.0, 9.0)]
    return {
        "all right": (truth, found(0.0)),
        "shifted": (truth, found(4.0)),
        "far off": (truth, found(500.0)),
        "one missed": (truth, found(0.0, leave=1)),
        "false ones": (truth, false),
        "everything": (truth, mixed),
    }


@pytest.mark.parametrize("name", cases())
def test_scores_are_those_of_coco_on_files(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, found = cases()[name]
    scores = keypoint_scores(truth, found, COCO_JOINTS)
    assert capsys.readouterr().out == ""
    stats = coco_on_files(truth, found, tmp_path).stats
    mine = [scores.ap, scores.ap50, scores.ap75, scores.ap_medium, scores.ap_large, scores.ar]
    assert mine == [float(value) for value in stats[:6]]
    assert (scores.images, scores.people) == (5, 5)
    if name == "all right":
        assert mine == pytest.approx([1.0] * 6)
    if name == "far off":
        assert mine == [0.0] * 6
    if name == "one missed":
        # 4 of 5 are found, the surest first: precision 1 up to a recall of .8, which is 81 of 101.
        assert scores.ap == pytest.approx(81 / 101)
        assert scores.ar == pytest.approx(0.8)
    if name == "shifted":
        assert 0 < scores.ap < 1
        assert scores.ap50 > scores.ap75


def test_other_joints_have_their_own_sigmas(tmp_path: Path) -> None:
    truth, found = cases()["shifted"]
    wide = replace(COCO_JOINTS, sigmas=tuple(1.7 * sigma for sigma in SIGMAS))
    scores = keypoint_scores(truth, found, wide)
    assert scores.ap == coco_on_files(truth, found, tmp_path, wide.sigmas).stats[0]
    assert scores.ap != keypoint_scores(truth, found, COCO_JOINTS).ap


def literal_oks(joints: np.ndarray, one: Person) -> float:
    total, seen = 0.0, 0
    for k in range(17):
        x, y, visible = (float(value) for value in one.joints[k])
        if visible > 0:
            square = (joints[k, 0] - x) ** 2 + (joints[k, 1] - y) ** 2
            total += math.exp(-square / (2 * one.area * (2 * SIGMAS[k]) ** 2))
            seen += 1
    return total / seen


def test_oks_by_loops_and_by_coco(tmp_path: Path) -> None:
    people = [person(1), person(2, 40_000.0, 12), person(3, 3000.0, 1)]
    others = [
        found_at(one, 0.9 - 0.01 * (3 * k + m), shift)
        for k, one in enumerate(people)
        for m, shift in enumerate((0.0, 2.5, 11.0))
    ]
    table = np.stack([oks(np.array([o.joints for o in others]), p, SIGMAS) for p in people], axis=1)
    for k, m in np.ndindex(9, 3):
        assert table[k, m] == pytest.approx(literal_oks(others[k].joints, people[m]), rel=1e-9)
    theirs = coco_on_files({"a": people}, {"a": others}, tmp_path)
    np.testing.assert_allclose(table, theirs.computeOks(100, 1), rtol=1e-9, atol=1e-300)
    with pytest.raises(GstoVizError, match="has no OKS; leave it out"):
        oks(np.zeros((1, 17, 3)), person(4, annotated=0), SIGMAS)


def literal_nms(found: list[FoundPerson], threshold: float) -> list[int]:
    """Take the surest, strike out all that are like it, and so on."""
    left = sorted(range(len(found)), key=lambda k: (-found[k].score, k))
    kept = []
    while left:
        first, *rest = left
        kept.append(first)
        left = []
        for k in rest:
            area = (found[first].area + found[k].area) / 2
            total = 0.0
            for j in range(17):
                dx, dy = found[first].joints[j, :2] - found[k].joints[j, :2]
                total += math.exp(-(dx**2 + dy**2) / (2 * area * (2 * SIGMAS[j]) ** 2))
            if total / 17 <= threshold:
                left.append(k)
    return kept


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_of_persons_that_are_one_the_surest_stays(threshold: float) -> None:
    rng = np.random.default_rng(4)
    found = [
        found_at(person(seed, 2500.0), float(rng.choice([0.3, 0.6, 0.8])), float(rng.uniform(0, 9)))
        for seed in (1, 2)
        for _ in range(12)
    ]
    found = [replace(one, area=float(rng.uniform(1500, 4000))) for one in found]
    kept = oks_nms(found, SIGMAS, threshold)
    expected = literal_nms(found, threshold)
    assert [found.index(one) for one in kept] == expected
    assert 2 <= len(kept) < 24
    assert oks_nms([], SIGMAS) == ()


def test_oks_by_the_size_of_persons() -> None:
    """sqrt(area): 50 is octave 5, 200 octave 7. Persons of an image first, then images."""
    small, large, other = person(1, 2500.0), person(2, 40_000.0), person(3, 2600.0)
    truth = {"a": [small, other, large], "b": [replace(small)], "c": [person(4, annotated=0)]}
    found = {
        "a": [found_at(small, 0.2), found_at(other, 0.9, 3.0), found_at(large, 0.5, 8.0)],
        "c": [found_at(small, 0.9)],
    }
    scores = keypoint_scores(truth, found, COCO_JOINTS)
    near = literal_oks(found["a"][1].joints, other)
    rows = scores.sizes.set_index("octave")
    assert rows.index.tolist() == [5, 7]
    assert rows.loc[5, "mean"] == pytest.approx(((1 + near) / 2 + 0) / 2)
    assert rows.loc[7, "mean"] == pytest.approx(literal_oks(found["a"][2].joints, large))
    assert rows["n_people"].tolist() == [3, 1]
    assert rows["n_images"].tolist() == [2, 1]
    assert scores.people == 4
    said = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert said["ap"] == pytest.approx(100 * scores.ap)
    assert said["sizes"][0]["n_people"] == 3
    assert said["sizes"][0]["low"] is None


def test_each_found_person_answers_for_one() -> None:
    """One found person between two does not count twice."""
    one = person(1)
    twin = replace(one, joints=one.joints.copy())
    scores = keypoint_scores({"a": [one, twin]}, {"a": [found_at(one, 0.9)]}, COCO_JOINTS)
    assert scores.sizes["mean"].tolist() == [0.5]
    assert scores.ar == pytest.approx(0.5)


def test_nobody_found_and_sizes_that_do_not_occur() -> None:
    scores = keypoint_scores({"a": [person(1)]}, {}, COCO_JOINTS)
    assert (scores.ap, scores.ap_medium, scores.ap_large, scores.ar) == (0.0, 0.0, None, 0.0)


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ({"a": [person(1)]}, {"z": [found_at(person(1), 1.0)]}, "image 'z' has found persons and"),
        ({"a": [replace(person(1), joints=np.ones((14, 3)))]}, {}, "'a' has 14 joints, not 17"),
        ({"a": [replace(person(1), area=0.0)]}, {}, "of image 'a' has no area; leave it out"),
        ({"a": [person(1, annotated=0)]}, {}, "no image has a person with an annotated joint"),
        ({}, {}, "no image has a person with an annotated joint; check the annotation"),
    ],
)
def test_what_cannot_be_scored_is_refused(truth: Truth, found: Found, message: str) -> None:
    with pytest.raises(GstoVizError, match=message):
        keypoint_scores(truth, found, COCO_JOINTS)


def test_without_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(GstoVizError, match=r"^scores of key points need pycocotools; install it"):
        keypoint_scores({"a": [person(1)]}, {}, COCO_JOINTS)
