"""COCO's key points: planted files against loops and pycocotools, and files that are wrong."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from gsto_viz.census import take_census
from gsto_viz.cli import main
from gsto_viz.data import (
    VISIBILITY,
    PersonDataset,
    PredecodedCache,
    ResizedDataset,
    joints_of,
    load_data,
    people_counts,
    write_png,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS

HEIGHT, WIDTH = 20, 30
NAMES = [name.replace(" ", "_") for name in COCO_JOINTS.classes.names]
PERSON = {"id": 1, "name": "person", "supercategory": "person", "keypoints": NAMES}


def joints(*known: tuple[int, float, float, int]) -> list[float]:
    """Seventeen joints, of which some are given by number, x, y and visibility."""
    values = [0.0] * 51
    for number, x, y, visibility in known:
        values[3 * number : 3 * number + 3] = [x, y, visibility]
    return values


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def person(id_: int, image: int, box: list[float], points: list[float], **more: Any) -> dict:
    left, top, width, height = (int(value) for value in box)
    return {
        "id": id_,
        "image_id": image,
        "category_id": 1,
        "bbox": box,
        "area": 60.0,
        "iscrowd": 0,
        "segmentation": rectangle(left, top, left + width, top + height),
        "keypoints": points,
        "num_keypoints": sum(value > 0 for value in points[2::3]),
        **more,
    }


def crowd(id_: int, image: int) -> dict:
    counts = [0, 4 * HEIGHT, HEIGHT * (WIDTH - 4)]
    runs = {"size": [HEIGHT, WIDTH], "counts": counts}
    return person(id_, image, [0, 0, 4, 20], joints(), iscrowd=1, segmentation=runs)


def content() -> dict[str, Any]:
    """Image 1: two persons, one without joints, a crowd; 2: a crowd; 3: nothing; 4: odd boxes."""
    return {
        "images": [
            {"id": k, "file_name": f"{k:012d}.png", "height": HEIGHT, "width": WIDTH}
            for k in (4, 2, 1, 3)
        ],
        "categories": [PERSON, {"id": 2, "name": "bicycle"}],
        "annotations": [
            crowd(10, 1),
            person(11, 1, [2, 2, 10, 12], joints((0, 5, 3, 2), (5, 11.5, 9, 1)), area=88.5),
            person(12, 1, [16, 4, 6, 8], joints()),
            person(13, 1, [6, 6, 4, 4], joints((16, 7, 8, 2))),
            {**person(14, 1, [0, 0, 30, 20], joints()), "category_id": 2},
            crowd(15, 2),
            person(16, 4, [-4, 10, 12, 30], joints((3, 0, 12, 2))),
            person(17, 4, [31, 2, 5, 5], joints((3, 31, 3, 2)), segmentation=[]),
            person(18, 4, [3, 2, 5, 5], joints((3, 4, 3, 2)), area=0),
        ],
    }


def write(root: Path, value: Any, images: str = "images/val2017") -> Path:
    path = root / "annotations" / "person_keypoints_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    for k in (1, 2, 3, 4):
        picture = np.full((HEIGHT, WIDTH, 3), 40 * k, np.uint8)
        write_png(root / images / f"{k:012d}.png", picture)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    write(folder, content())
    return folder


def test_persons_are_those_of_the_file(root: Path) -> None:
    data = load_data(f"coco_keypoints:{root}")
    assert data.name == f"coco_keypoints:{root}:val"
    assert data.ids == tuple(f"{k:012d}" for k in (1, 2, 3, 4))
    assert data.classes.names == ("background", "person")
    assert joints_of(data) is COCO_JOINTS
    coco = COCO(root / "annotations" / "person_keypoints_val2017.json")
    for k in (1, 2, 3, 4):
        kept = [
            one
            for one in coco.loadAnns(coco.getAnnIds(imgIds=[k], catIds=[1], iscrowd=False))
            if one["area"] > 0 and max(one["keypoints"]) > 0 and one["bbox"][0] < WIDTH
        ]
        people = data[k - 1].people
        assert people is not None
        for mine, theirs in zip(people, kept, strict=True):
            assert mine.area == theirs["area"]
            values = np.array(theirs["keypoints"]).reshape(17, 3)
            assert np.array_equal(mine.joints, values.astype(np.float32))
    assert people_counts(data) == (2, 0, 0, 1)
    assert data[3].people[0].box == (-0.5, 9.5, 8, 10)
    assert data[0].people[0].box == (1.5, 1.5, 10, 12)


def test_maps_are_background_person_and_ignored_crowds(root: Path) -> None:
    sample = load_data(f"coco_keypoints:{root}")[0]
    boxes = {2: (2, 2, 12, 14), 3: (16, 4, 22, 12), 4: (6, 6, 10, 10)}
    for y in range(HEIGHT):
        for x in range(WIDTH):
            there = [n for n, (x0, y0, x1, y1) in boxes.items() if x0 <= x < x1 and y0 <= y < y1]
            # Of two the smaller one is on top; crowds are below all.
            number = 4 if 4 in there else there[0] if there else 0
            assert sample.instances[y, x] == number
            assert sample.labels[y, x] == (1 if there else 255 if x < 4 else 0)
    assert [one.instance for one in sample.people] == [2, 4]
    for one in sample.people:
        for x, y, visibility in one.joints.tolist():
            if visibility == 2:
                assert sample.instances[round(y), round(x)] in (one.instance, 4)


def test_boxes_outside_and_areas_of_zero_are_named(root: Path) -> None:
    assert load_data(f"coco_keypoints:{root}").left_out == (
        "annotation 17 has a box (31, 2, 5, 5) without a pixel of its image",
        "annotation 18 has an area of 0 px, its image 600",
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"bbox": [2, 2, -5, 4]}, "a box (2, 2, -5, 4) without a pixel of its image"),
        ({"bbox": [2, 2, 5, 1e-300]}, "a box (2, 2, 5, 1e-300) without a pixel of its image"),
        ({"area": 1e-3}, "an area of 0.001 px, its image 600"),
        ({"area": 601}, "an area of 601 px, its image 600"),
    ],
)
def test_persons_that_no_image_can_hold_are_left_out(
    tmp_path: Path, value: dict[str, Any], words: str
) -> None:
    """OKS with such an area would be 1 or 0 wherever the joints are found."""
    write(tmp_path, changed("annotations", 1, **value))
    data = load_data(f"coco_keypoints:{tmp_path}")
    assert f"annotation 11 has {words}" in data.left_out


def test_one_sample_for_each_person_without_reading_images(root: Path, monkeypatch) -> None:
    data = load_data(f"coco_keypoints:{root}")
    with monkeypatch.context() as patch:
        patch.setattr("gsto_viz.data.base.read_image", None)
        persons = PersonDataset(data)
        assert persons.ids == ("000000000001#1", "000000000001#2", "000000000004#1")
    assert [int(one.image[0, 0, 0]) for one in map(persons.__getitem__, range(3))] == [40, 40, 160]
    assert persons[1].people[0].joints[16].tolist() == [7, 8, 2]


def test_decoded_copies_keep_the_persons(root: Path, tmp_path: Path) -> None:
    data = load_data(f"coco_keypoints:{root}")
    cached = load_data(f"coco_keypoints:{root}", cache=tmp_path)
    for _ in range(2):
        for k in range(4):
            one, other = data[k], cached[k]
            assert np.array_equal(one.image, other.image)
            assert np.array_equal(one.instances, other.instances)
            # They are the same objects where both data sets are of one reading.
            assert PredecodedCache(data, tmp_path)[k].people == one.people
            for mine, theirs in zip(one.people, other.people, strict=True):
                assert np.array_equal(mine.joints, theirs.joints)
                assert (mine.box, mine.area, mine.instance) == (
                    theirs.box,
                    theirs.area,
                    theirs.instance,
                )
    assert PersonDataset(cached).ids == PersonDataset(data).ids
    half = ResizedDataset(cached, (40, 60))
    assert half[0].people[1].joints[16].tolist() == [14.5, 16.5, 2]
    assert people_counts(half) == (2, 0, 0, 1)


def test_key_points_that_only_images_tell_are_not_cached(root: Path, tmp_path: Path) -> None:
    data = load_data(f"coco_keypoints:{root}")

    class Own:
        name, classes, ids, groups, joints = "own", data.classes, data.ids, (None,), COCO_JOINTS
        files, __len__, __getitem__ = data.files, data.__len__, data.__getitem__

    with pytest.raises(GstoVizError, match="the key points of own are not kept decoded"):
        PredecodedCache(Own(), tmp_path)


@pytest.mark.parametrize("images", ["val2017", "images/val2017", "images"])
def test_folders_as_people_have_them(tmp_path: Path, images: str) -> None:
    path = write(tmp_path, content(), images)
    write(tmp_path, content(), images)
    (tmp_path / "annotations" / "instances_val2017.json").write_text("{}")
    (tmp_path / "annotations" / "captions_val2017.json").write_text("{}")
    assert load_data(f"coco_keypoints:{tmp_path}")[3].image[0, 0, 0] == 160
    assert load_data(f"coco_keypoints:{path}").ids == load_data(f"coco_keypoints:{tmp_path}").ids
    with pytest.raises(GstoVizError, match="no annotations of split 'train' in"):
        load_data(f"coco_keypoints:{tmp_path}:train")


def test_persons_need_no_masks(tmp_path: Path) -> None:
    value = content()
    value["annotations"] = [
        {**one, "segmentation": []} for one in value["annotations"] if not one["iscrowd"]
    ]
    write(tmp_path, value)
    sample = load_data(f"coco_keypoints:{tmp_path}")[0]
    assert [one.instance for one in sample.people] == [0, 0]
    assert (sample.labels[2:14, 2:12] == 255).all()
    assert not sample.instances.any()
    (note,) = (
        one
        for one in take_census(load_data(f"coco_keypoints:{tmp_path}")).findings()
        if one.code == "one-class"
    )
    assert "measured by their boxes" in note.advice, "no class is missing from the list"


def changed(key: str, number: int, **more: Any) -> dict[str, Any]:
    value = content()
    value[key][number] = {**value[key][number], **more}
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (changed("annotations", 1, keypoints=[0] * 42), "annotation 11 has 14 key points; the 17"),
        (changed("annotations", 1, keypoints=[1] * 50), "annotation 11 has 16.6667 key points"),
        (changed("annotations", 1, keypoints=[3] * 51), "another visibility than 0, 1 and 2"),
        (changed("annotations", 1, keypoints=["a"] * 51), "are not x, y and visibility in turn"),
        (changed("annotations", 1, keypoints=[float("nan")] * 51), "are not x, y and visibility"),
        (changed("annotations", 1, keypoints="none"), "the key points of annotation 11 are not a"),
        (changed("annotations", 1, bbox=None), r"annotation 11 has no box \(x, y, width, height\)"),
        (changed("annotations", 1, area="large"), "the area of annotation 11 is 'large'"),
        (changed("annotations", 1, area=1e300), "the area of annotation 11 is 1e"),
        (changed("annotations", 1, area=10**400), "the area of annotation 11 is 1000"),
        (changed("annotations", 1, category_id=None), "annotation 11 has category_id None, which"),
        (changed("annotations", 1, category_id=[1]), r"annotation 11 has category_id \[1\], which"),
        (changed("annotations", 1, category_id=9), "annotation 11 has category_id 9, which is not"),
        (changed("annotations", 1, image_id=99), "annotations are of images that it does not list"),
        (changed("images", 2, width=None, height=None), "image 1 has no height and width"),
        (changed("categories", 0, keypoints=NAMES[:14]), "its persons have 14 key points; the 17"),
        (changed("categories", 0, keypoints=NAMES[::-1]), "where COCO has the joint 'nose' it has"),
        (changed("categories", 0, keypoints="all"), "of its category 'person' are 'all', not a l"),
        (
            {**content(), "categories": [*content()["categories"], {"id": 9, "name": "Person"}]},
            "2 categories are called 'person'; join them",
        ),
        (changed("categories", 0, name="dog"), "it has no category 'person'"),
        (
            {
                **content(),
                "annotations": [{**one, "keypoints": None} for one in content()["annotations"]],
            },
            "no annotation of a person has key points; take person_keypoints_",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, value: Any, words: str) -> None:
    write(tmp_path, value)
    with pytest.raises(GstoVizError, match=words) as found:
        load_data(f"coco_keypoints:{tmp_path}")
    assert "\n" not in str(found.value)


def test_the_check_counts_persons_and_names_those_it_leaves_out(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "census.json"
    assert main(["check", f"coco_keypoints:{root}", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "1.3 annotated joints a person, 2 images without persons\n" in text
    assert "2 persons are left out: annotation 17 has a box (31, 2, 5, 5) without a" in text
    counts = json.loads(out.read_text())["people"]
    assert (counts["persons"], counts["images_without"]) == (3, 2)
    seen = {one["joint"]: [one[word] for word in VISIBILITY] for one in counts["joints"]}
    assert seen["nose"] == [2, 0, 1]
    assert seen["left shoulder"] == [2, 1, 0]
    assert counts["sizes"] == [{"octave": 2, "persons": 2}, {"octave": 3, "persons": 1}]


def test_the_check_stops_where_nobody_has_joints_and_notes_joints_outside(tmp_path: Path) -> None:
    write(
        tmp_path, changed("annotations", 1, keypoints=joints((0, 29.4, 20.2, 2), (1, 3, 19.4, 1)))
    )
    census = take_census(load_data(f"coco_keypoints:{tmp_path}"))
    found = {one.code: one for one in census.findings()}
    assert found["joints-outside"].sentence == ("1 joint lies outside the image: 000000000001")
    value = content()
    value["annotations"] = [value["annotations"][k] for k in (0, 2, 5)]
    write(tmp_path, value)
    data = load_data(f"coco_keypoints:{tmp_path}")
    assert [sample.people for sample in map(data.__getitem__, range(4))] == [()] * 4
    stops = [one.code for one in take_census(data).findings() if one.stops]
    assert stops == ["no-people"]
    with pytest.raises(GstoVizError, match="no person with key points in 4 images"):
        PersonDataset(data)


def test_the_check_says_why_images_with_persons_cannot_be_used(tmp_path: Path) -> None:
    """Persons of images that cannot be used are not missing."""
    value = changed("images", 2, height=99)
    value["annotations"] = [value["annotations"][1]]
    write(tmp_path, value)
    census = take_census(load_data(f"coco_keypoints:{tmp_path}"))
    (stop,) = [one for one in census.findings() if one.stops]
    assert re.fullmatch(
        r"no person has key points in 3 images that can be used, of 4; first of the others: .*99.*",
        stop.sentence,
    )
