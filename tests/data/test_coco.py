"""COCO files: maps against loops over pixels, folders as people have them, files that are wrong."""

import contextlib
import json
import pickle
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from coco_text import packed, runs_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask

from gsto_viz.census import take_census
from gsto_viz.cli import main
from gsto_viz.data import DATA_SETS, PredecodedCache, check_dataset, load_data, write_png
from gsto_viz.data.coco_json import Object, Objects, read_coco
from gsto_viz.data.masks import decode_mask, polygon_runs, unpack_counts
from gsto_viz.errors import GstoVizError
from gsto_viz.models import ModelInfo, build_model, initialize, save_checkpoint
from gsto_viz.types import ClassList

HEIGHT, WIDTH = 12, 16
CATEGORIES = [{"id": 7, "name": "tree"}, {"id": 3, "name": "car"}, {"id": 90, "name": "sign"}]
"""Classes 0 car, 1 tree, 2 sign."""


def inside(corners: list[float], x: float, y: float) -> bool:
    """Whether a point lies in a polygon, by counting the edges to its right."""
    points = list(zip(corners[::2], corners[1::2], strict=True))
    odd = False
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            odd = not odd
    return odd


def filled(polygons: list[list[float]], height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """The pixels whose centres lie in any of the polygons."""
    mask = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            mask[y, x] = any(inside(one, x + 0.5, y + 0.5) for one in polygons)
    return mask


def rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def rle(mask: np.ndarray, text: bool = False) -> dict[str, Any]:
    lengths = runs_of(mask)
    return {"size": list(mask.shape), "counts": packed(lengths) if text else lengths}


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def annotation(id_: int, image: Any, category: int, mask: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "image_id": image,
        "category_id": category,
        "segmentation": mask,
        "iscrowd": 0,
        "area": 1e9,
        **more,
    }


def objects() -> dict[str, Any]:
    """Two images: one with objects of all kinds, in the way of each other, and an empty one."""
    return {
        "images": [
            {"id": 5, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
            {"id": 2, "file_name": "a.png"},
        ],
        "annotations": [
            annotation(11, 5, 3, [rectangle(1, 1, 5, 4), rectangle(8, 2, 12, 9)]),
            annotation(12, 5, 7, rle(box(0, 12, 4, 15), text=True)),
            annotation(13, 5, 90, rle(box(6, 8, 0, 9))),
            annotation(14, 5, 3, rle(box(5, 12, 8, 16)), iscrowd=1),
        ],
        "categories": CATEGORIES,
    }


def image(path: Path, height: int = HEIGHT, width: int = WIDTH, value: int = 9) -> None:
    write_png(path, np.full((height, width, 3), value, np.uint8))


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder as COCO's downloads make it."""
    write(tmp_path / "annotations" / "instances_val2017.json", objects())
    for name in "ab":
        image(tmp_path / "val2017" / f"{name}.png")
    return tmp_path


def change(root: Path, **parts: Any) -> None:
    """Replace parts of the annotation file."""
    path = root / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def expected_maps() -> tuple[np.ndarray, np.ndarray]:
    """Labels and instances of image b, pixel by pixel: of all objects there the smallest."""
    masks = [
        filled([rectangle(1, 1, 5, 4), rectangle(8, 2, 12, 9)]),
        box(0, 12, 4, 15),
        box(6, 8, 0, 9),
        box(5, 12, 8, 16),
    ]
    classes, crowd = [0, 1, 2, 0], [False, False, False, True]
    labels = np.full((HEIGHT, WIDTH), 255)
    instances = np.zeros((HEIGHT, WIDTH), int)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            there = [k for k in range(4) if masks[k][y, x]]
            alone = [k for k in there if not crowd[k]]
            if there:
                best = min(alone or there, key=lambda k: masks[k].sum())
                labels[y, x] = classes[best]
                instances[y, x] = 0 if crowd[best] else best + 1
    return labels, instances


def test_objects_become_labels_and_instances(root: Path) -> None:
    data = load_data(f"coco:{root}")
    assert data.name == f"coco:{root}:val"
    assert data.ids == ("a", "b")
    assert data.classes.names == ("car", "tree", "sign")
    assert [c.thing for c in data.classes] == [True] * 3
    assert len({c.color for c in data.classes}) == 3
    labels, instances = expected_maps()
    assert set(np.unique(labels)) == {0, 1, 2, 255}
    assert set(np.unique(instances)) == {0, 1, 2, 3}
    sample = data[1]
    np.testing.assert_array_equal(sample.labels, labels)
    np.testing.assert_array_equal(sample.instances, instances)
    assert (sample.labels.dtype, sample.instances.dtype) == (np.uint8, np.int32)
    assert ((sample.labels == 0) & (sample.instances == 0)).any(), "a crowd is seen"
    assert (data[0].labels == 255).all()
    assert not data[0].instances.any()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data))[1].labels, labels)


def test_what_is_not_annotated_is_background_where_there_is_one(root: Path) -> None:
    change(root, categories=[*CATEGORIES, {"id": 0, "name": "__Background__"}])
    data = load_data(f"coco:{root}:val")
    assert data.classes.names == ("__Background__", "car", "tree", "sign")
    assert [c.thing for c in data.classes] == [False, True, True, True]
    labels, instances = expected_maps()
    np.testing.assert_array_equal(data[1].labels, np.where(labels == 255, 0, labels + 1))
    np.testing.assert_array_equal(data[1].instances, instances)


def test_stuff_is_not_counted(root: Path) -> None:
    change(root, categories=[{**one, "isthing": int(one["id"] != 7)} for one in CATEGORIES])
    labels, instances = expected_maps()
    sample = load_data(f"coco:{root}")[1]
    np.testing.assert_array_equal(sample.labels, labels)
    np.testing.assert_array_equal(sample.instances, np.where(labels == 1, 0, instances))


def test_of_two_objects_alike_in_size_the_later_one_is_on_top(root: Path) -> None:
    masks = [box(0, 4, 0, 4), box(2, 6, 2, 6)]
    change(root, annotations=[annotation(k, 2, 3, rle(masks[k])) for k in range(2)])
    assert load_data(f"coco:{root}")[0].instances[3, 3] == 2


@pytest.mark.parametrize("nothing", [[], [[]], [[1, 1, 5, 5]], None])
def test_the_box_of_an_object_without_a_mask_is_ignored(root: Path, nothing: Any) -> None:
    content = objects()["annotations"]
    content[2] = annotation(13, 5, 90, nothing, bbox=[0.5, 5.5, 3, 2])
    change(root, annotations=content, categories=[*CATEGORIES, {"id": 0, "name": "background"}])
    labels = load_data(f"coco:{root}")[1].labels
    for y in range(HEIGHT):
        for x in range(4):
            covered = filled([rectangle(1, 1, 5, 4)])[y, x]
            inside_box = 5 <= y < 8 and x < 4
            assert labels[y, x] == (1 if covered else 255 if inside_box else 0)


def test_slanted_polygons_are_right_but_for_their_border() -> None:
    polygon = [3.2, 4.1, 52.7, 9.3, 40.4, 47.8, 10.1, 33.3]
    lengths = polygon_runs([np.array(polygon)], 50, 60)
    mask = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(60, 50).T
    truth = filled([polygon], 50, 60)
    away = np.ones(truth.shape, bool)
    for y in range(50):
        for x in range(60):
            around = truth[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            away[y, x] = around.all() or not around.any()
    np.testing.assert_array_equal(mask[away], truth[away])
    assert 1000 < truth[away].sum() < away.sum() - 1000


@settings(deadline=None)
@given(
    mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=70)),
    scale=st.integers(1, 40),
)
def test_packed_runs_are_those_of_the_coco_api(mask: np.ndarray, scale: int) -> None:
    mask = np.repeat(
        mask, scale, axis=0
    )  # numbers of several characters, differences of both signs
    counts = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert counts == packed(runs_of(mask))
    assert unpack_counts(counts).tolist() == runs_of(mask)
    np.testing.assert_array_equal(decode_mask({"size": mask.shape, "counts": counts}), mask)


@settings(max_examples=60, deadline=None)
@given(
    masks=st.lists(
        hnp.arrays(bool, st.shared(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))),
        min_size=1,
        max_size=5,
    ),
    data=st.data(),
)
def test_random_masks(masks: list[np.ndarray], data: st.DataObject) -> None:
    height, width = masks[0].shape
    labels = [data.draw(st.integers(0, 254)) for _ in masks]
    crowd = [data.draw(st.booleans()) for _ in masks]
    listed = Objects(
        tuple(
            Object(k, labels[k], not crowd[k], crowd[k], (), rle(mask, k % 2 == 0), (0, 0, 0, 0))
            for k, mask in enumerate(masks)
        ),
        255,
    )
    drawn, instances = listed.draw(height, width)
    for y in range(height):
        for x in range(width):
            there = [k for k, mask in enumerate(masks) if mask[y, x]]
            top = max(there, key=lambda k: (not crowd[k], -masks[k].sum(), k), default=None)
            assert drawn[y, x] == (255 if top is None else labels[top])
            assert instances[y, x] == (0 if top is None or crowd[top] else top + 1)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where each value of a JSON file lies, as keys from the outermost in."""
    keys: Any = ()
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
    inner = [(*place, key) for key in keys]
    return inner + [one for at in inner for one in places(value[at[-1]], at)]


JUNK: list[Any] = [None, True, False, 0, -1, 2**31, 10**40, 1e308, float("nan"), 0.5]
JUNK += ["", "x", "\ud800", "a\0", [], [1], [[]], [[1, 2]], [None], [1, "a"], [1] * 6, {}, {"a": 1}]


@settings(max_examples=400, deadline=None)
@given(st.data(), st.booleans())
def test_whatever_a_file_holds_it_is_read_or_refused(data: st.DataObject, panoptic: bool) -> None:
    content: Any = json.loads(json.dumps(PANOPTIC if panoptic else objects()))
    *outer, last = data.draw(st.sampled_from(places(content)))
    holder = content
    for key in outer:
        holder = holder[key]
    if data.draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = data.draw(st.sampled_from(JUNK))
    classes, listed, refused = ClassList("none", ()), [], None
    with tempfile.TemporaryDirectory() as folder:
        try:
            classes, listed = read_coco(write(Path(folder) / "x.json", content))
        except GstoVizError as error:
            refused = str(error)
    # One line: what is wrong, where, what to do.
    assert listed or re.fullmatch(r".*x\.json.+; .+", str(refused))
    for annotation in (one.annotation for one in listed):
        if isinstance(annotation, Objects):
            with contextlib.suppress(ValueError):
                labels = annotation.draw(HEIGHT, WIDTH)[0]
                assert (labels[labels != 255] < len(classes)).all()
        else:
            assert (np.diff(annotation.table[:, 0]) > 0).all()


PANOPTIC = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [
        {
            "image_id": 1,
            "file_name": "a.png",
            "segments_info": [
                {"id": 300, "category_id": 1, "iscrowd": 0},
                {"id": 70000, "category_id": 1, "iscrowd": 1},
                {"id": 9, "category_id": 184, "iscrowd": 0},
                {"id": 16777215, "category_id": 17, "iscrowd": 0},
                {"id": 4, "category_id": 17, "iscrowd": 0},
            ],
        },
        {"image_id": 2, "file_name": "b.png", "segments_info": []},
    ],
    "categories": [
        {"id": 184, "name": "tree-merged", "isthing": 0, "color": [1, 2, 3]},
        {"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60]},
        {"id": 17, "name": "cat", "isthing": 1},
    ],
}
SEGMENTS = {0: (255, 0), 300: (0, 1), 70000: (0, 0), 9: (2, 0), 16777215: (1, 4)}
"""Label and instance of each segment that is seen."""


def color_of(segment: int) -> tuple[int, int, int]:
    return segment % 256, segment // 256 % 256, segment // 65536


def make_panoptic(root: Path, pngs: str = "annotations/panoptic_val2017") -> np.ndarray:
    ids = np.random.default_rng(3).choice(list(SEGMENTS), (HEIGHT, WIDTH))
    colors = np.array([[color_of(int(one)) for one in row] for row in ids], np.uint8)
    write(root / "annotations" / "panoptic_val2017.json", PANOPTIC)
    for name in "ab":
        image(root / "val2017" / f"{name}.jpg")
        write_png(root / pngs / f"{name}.png", colors * (name == "a"))
    return ids


def test_panoptic_categories_must_say_whether_they_are_things(root: Path) -> None:
    make_panoptic(root)
    silent = [
        {key: value for key, value in one.items() if key != "isthing"}
        for one in PANOPTIC["categories"]
    ]
    write(root / "annotations" / "panoptic_val2017.json", {**PANOPTIC, "categories": silent})
    with pytest.raises(GstoVizError, match="'person' of panoptic segments has no 'isthing'; write"):
        load_data(f"coco:{root}")


@pytest.mark.parametrize("place", [0, 1])
def test_one_panoptic_annotation_without_segments(root: Path, place: int) -> None:
    make_panoptic(root)
    annotations = [dict(one) for one in PANOPTIC["annotations"]]
    del annotations[place]["segments_info"]
    write(root / "annotations" / "panoptic_val2017.json", {**PANOPTIC, "annotations": annotations})
    with pytest.raises(GstoVizError, match=f"segments_info of image {place + 1} is not a list"):
        load_data(f"coco:{root}")


@pytest.mark.parametrize("pngs", ["annotations/panoptic_val2017", "panoptic_val2017"])
def test_panoptic_segments(root: Path, pngs: str) -> None:
    ids = make_panoptic(root, pngs)
    data = load_data(f"coco:{root}")
    assert data.classes.names == ("person", "cat", "tree-merged")
    assert [c.thing for c in data.classes] == [True, True, False]
    assert [c.color for c in data.classes][::2] == [(220, 20, 60), (1, 2, 3)]
    sample = data[0]
    for y in range(HEIGHT):
        for x in range(WIDTH):
            assert (sample.labels[y, x], sample.instances[y, x]) == SEGMENTS[int(ids[y, x])]
    assert (sample.labels.dtype, sample.instances.dtype) == (np.uint8, np.int32)
    assert (data[1].labels == 255).all()
    chosen = load_data(f"coco:{root}/annotations/instances_val2017.json")
    assert chosen.name == f"coco:{root}/annotations/instances_val2017.json"
    np.testing.assert_array_equal(chosen[1].labels, expected_maps()[0])
    with pytest.raises(GstoVizError, match=r"is one file and has no splits; leave ':val' out"):
        load_data(f"coco:{root}/annotations/instances_val2017.json:val")


def test_wrong_panoptic_pngs(root: Path) -> None:
    make_panoptic(root)
    pngs = root / "annotations" / "panoptic_val2017"
    write_png(pngs / "b.png", np.full((HEIGHT, WIDTH, 3), 7, np.uint8))
    with pytest.raises(
        GstoVizError,
        match=rf"b\.png has 192 pixels .* not listed, first segment {7 + 1792 + 458752}",
    ):
        load_data(f"coco:{root}")[1]
    write_png(pngs / "b.png", np.zeros((HEIGHT, 3, 3), np.uint8))
    with pytest.raises(GstoVizError, match=r"b\.jpg: its PNG is 3 x 12 pixels, not 16 x 12"):
        load_data(f"coco:{root}")[1]
    pngs.rename(root / "elsewhere")
    with pytest.raises(GstoVizError, match=r"2 of 2 segment PNGs of \S+ are missing, first"):
        load_data(f"coco:{root}")


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ([{"id": 0, "category_id": 1}], "a segment of image 2 has id 0"),
        ([{"id": 2**24, "category_id": 1}], "a segment of image 2 has id 16777216"),
        ([{"id": True, "category_id": 1}], "has id True"),
        ([{"id": 3, "category_id": 1}] * 2, "two segments of image 2 have id 3"),
        ([{"id": 3, "category_id": 2}], "segment 3 of image 2 has category_id 2, which is not in"),
        ([{"id": 3, "category_id": 1, "iscrowd": "no"}], "'iscrowd' of 3 is 'no'"),
        ({}, "segments_info of image 2 is not a list of objects"),
        ([3], "segments_info of image 2 is not a list of objects"),
    ],
)
def test_wrong_segments(root: Path, segments: Any, words: str) -> None:
    make_panoptic(root)
    one = {"image_id": 2, "file_name": "b.png", "segments_info": segments}
    content = {**PANOPTIC, "annotations": [PANOPTIC["annotations"][0], one]}
    write(root / "annotations" / "panoptic_val2017.json", content)
    with pytest.raises(GstoVizError, match=words):
        load_data(f"coco:{root}")
    write(
        root / "annotations" / "panoptic_val2017.json",
        {**content, "annotations": PANOPTIC["annotations"][:1]},
    )
    with pytest.raises(GstoVizError, match="image 2 has 0 annotations"):
        load_data(f"coco:{root}")


@pytest.mark.parametrize(
    ("file", "images", "spec", "name"),
    [
        ("annotations/instances_val2014.json", "val2014", "", ":val"),
        ("annotations/instances_val2014.json", "images/val2014", ":val", ":val"),
        ("val/_annotations.coco.json", "val", "", ":val"),
        ("valid/_annotations.coco.json", "valid", ":val", ":val"),
        ("test/_annotations.coco.json", "test", ":test", ":test"),
        ("annotations/instances_default.json", "images", "", ""),
        ("annotations/instances_default.json", "images/default", "", ""),
        ("_annotations.coco.json", ".", "", ""),
        ("annotations.json", "JPEGImages/..", "", ""),
        ("labels.json", "data", "", ""),
        ("result.json", "images", "", ""),
        ("annotations/my_val.json", "val", "", ":val"),
        ("val.json", "images/val", "", ":val"),
    ],
)
def test_folders_as_people_have_them(
    tmp_path: Path, file: str, images: str, spec: str, name: str
) -> None:
    write(tmp_path / file, objects())
    (tmp_path / "JPEGImages").mkdir()
    for stem in "ab":
        image(tmp_path / images / f"{stem}.png")
    # What lies beside it in COCO's own folders is not in the way.
    for other in ("captions_val2017", "person_keypoints_val2017", "image_info_test2017", "._x"):
        write(tmp_path / "annotations" / f"{other}.json", "{}")
    data = load_data(f"coco:{tmp_path}{spec}")
    assert data.name == f"coco:{tmp_path}{name}"
    np.testing.assert_array_equal(data[1].labels, expected_maps()[0])
    assert not check_dataset(data, quiet=True)


def test_files_in_folders_and_windows_names(tmp_path: Path) -> None:
    content = objects()
    content["images"][0]["file_name"], content["images"][1]["file_name"] = "x\\b.png", "./y/b.png"
    write(tmp_path / "annotations.json", content)
    for folder in "xy":
        image(tmp_path / folder / "b.png")
    data = load_data(f"coco:{tmp_path}")
    assert data.ids == ("x/b", "y/b")
    np.testing.assert_array_equal(data[0].labels, expected_maps()[0])


def test_splits(root: Path) -> None:
    write(root / "annotations" / "instances_train2017.json", objects())
    with pytest.raises(GstoVizError, match=r"2 of 2 images of \S+train2017\.json are missing"):
        load_data(f"coco:{root}", purpose="train")
    for name in "ab":
        image(root / "train2017" / f"{name}.png", value=1)
    assert (load_data(f"coco:{root}", purpose="train")[0].image == 1).all()
    assert (load_data(f"coco:{root}")[0].image == 9).all()
    with pytest.raises(
        GstoVizError,
        match=r"no annotations of split 'test' in \S+ \(it has annotations/instances_train2017",
    ):
        load_data(f"coco:{root}:test")
    (root / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(GstoVizError, match="no annotations of split 'val'"):
        load_data(f"coco:{root}")  # never in silence the one file that is there, of another split


def test_several_files_are_asked_for(root: Path) -> None:
    write(root / "annotations" / "instances_val2014.json", objects())
    with pytest.raises(
        GstoVizError,
        match=r"2 annotation files .*instances_val2014\.json, instances_val2017\.json; name one: "
        r"coco:\S+instances_val2014\.json",
    ):
        load_data(f"coco:{root}")
    assert len(load_data(f"coco:{root}/annotations/instances_val2017.json")) == 2


def test_the_category_that_roboflow_puts_above_all_others_is_no_class(root: Path) -> None:
    above = [{"id": 0, "name": "car", "supercategory": "none"}]
    below = [{**one, "supercategory": "car"} for one in CATEGORIES]
    change(root, categories=above + below)
    data = load_data(f"coco:{root}")
    assert data.classes.names == ("car", "tree", "sign")
    np.testing.assert_array_equal(data[1].labels, expected_maps()[0])
    above[0]["name"] = below[0]["supercategory"] = "street"
    used = [*objects()["annotations"], annotation(20, 2, 0, rle(box(0, 3, 0, 3)))]
    change(root, categories=above + below, annotations=used)
    assert load_data(f"coco:{root}").classes.names == ("street", "car", "tree", "sign")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not valid JSON"),
        (json.dumps(objects())[:-30], "is not valid JSON"),
        ("[" * 200_000, "is not valid JSON"),
        ("[]", "has no list 'images' of objects, so it is not a COCO file"),
        ('{"shapes": [], "imagePath": "a.png"}', "has no list 'images'"),
        ({"type": "FeatureCollection", "features": []}, "has no list 'images'"),
        ({**objects(), "images": {}}, "has no list 'images'"),
        ({**objects(), "annotations": [1]}, "has no list 'annotations'"),
        ({"images": objects()["images"], "categories": CATEGORIES}, "has no list 'annotations'"),
        ({**objects(), "annotations": []}, "the list 'annotations' is empty"),
        ({**objects(), "categories": []}, "the list 'categories' is empty"),
    ],
)
def test_files_of_another_kind(root: Path, content: Any, words: str) -> None:
    path = write(root / "annotations" / "instances_val2017.json", content)
    with pytest.raises(GstoVizError, match=re.escape(str(path)) + ".*" + words) as caught:
        load_data(f"coco:{root}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gsto_viz.data.coco_json.MAX_JSON_BYTES", 2**8)
    with pytest.raises(GstoVizError, match=r"instances_val2017\.json is larger than"):
        load_data(f"coco:{root}")


def categories(count: int) -> list[dict[str, Any]]:
    return [{"id": 3 + k, "name": f"c{k}"} for k in range(count)]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"categories": categories(256)}, "it has 256 categories, and label maps hold 255"),
        ({"categories": [*CATEGORIES, {"id": 1, "name": "Car"}]}, "two categories have the name"),
        ({"categories": [*CATEGORIES, CATEGORIES[0]]}, "two records of one category have the id 7"),
        ({"categories": [{"id": 3, "name": "car"}]}, "its only category is 'car'.*'background'"),
        ({"categories": [*CATEGORIES, {"id": 1, "name": " "}]}, "the name of one category is ' '"),
        ({"categories": [*CATEGORIES, {"id": 1}]}, "the name of one category is None"),
        ({"categories": [*CATEGORIES, {"id": "1", "name": "x"}]}, "id of one category is '1'"),
        (
            {"annotations": [{"id": 1, "image_id": 5, "caption": "a street"}]},
            "annotation 1 has no category_id; captions, for instance, have none",
        ),
        ({"categories": CATEGORIES[:2]}, "annotation 13 has category_id 90, which is not in"),
        ({"images": objects()["images"][1:]}, "4 of 4 annotations are of images .* image_id 5"),
        ({"images": [*objects()["images"], {"id": 5}]}, "two records of one image have the id 5"),
        ({"images": [{"id": 5}]}, "the file_name of 5 is None"),
        ({"images": [{"id": 5, "file_name": "a\0.png"}]}, "the file_name of 5 is"),
        ({"images": [{"id": 5, "file_name": "\ud800.png"}]}, "the file_name of 5 is"),
        ({"images": [{"id": [5], "file_name": "a.png"}]}, r"the id of one image is \[5\]"),
        ({"images": [{"id": 5, "file_name": "../a.png"}]}, "leads out of the folder"),
        ({"images": [{"id": 5, "file_name": "x\\..\\..\\a.png"}]}, "leads out of the folder"),
        ({"images": [{"id": 5, "file_name": "/etc/passwd"}]}, "leads out of the folder"),
        ({"images": [{"id": 5, "file_name": "C:\\a.png"}]}, "leads out of the folder"),
        ({"images": [{"id": 5, "file_name": ""}]}, "leads out of the folder"),
        (
            {"images": [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "a.jpg"}]},
            "two images have the name 'a'",
        ),
        (
            {"images": [{"id": 5, "file_name": "a.png", "height": -1, "width": 3}]},
            "height and width of image 5 are -1 and 3",
        ),
        (
            {"images": [*objects()["images"], {"id": 8, "file_name": "gone.png"}]},
            r"1 of 3 images of \S+ are missing, first \S+val2017/gone\.png",
        ),
    ],
)
def test_wrong_lists(root: Path, parts: dict[str, Any], words: str) -> None:
    change(root, **parts)
    with pytest.raises(GstoVizError, match=words) as caught:
        load_data(f"coco:{root}")
    assert "\n" not in str(caught.value)
    str(caught.value).encode()  # it can be printed


FULL = [HEIGHT, WIDTH]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([[1, 2, 3, 4, 5]], "a polygon is not x and y of each corner in turn"),
        ([["1", "2", "3", "4", "5", "6"]], "a polygon is not x and y"),
        ([[1, 2, [3], 4, 5, 6]], "a polygon is not x and y"),
        ([[1, 2, 10**30, 4, 5, 6]], "a polygon is not x and y"),
        ([1, 2, 3, 4, 5, 6], "its segmentation is neither a list of polygons nor run lengths"),
        ("abc", "its segmentation is neither"),
        ({"size": FULL}, "its run lengths lack 'size' or 'counts'"),
        ({"counts": [192]}, "its run lengths lack 'size' or 'counts'"),
        ([], r"it has neither a mask nor a box"),
    ],
)
def test_masks_that_are_wrong_at_first_sight(root: Path, mask: Any, words: str) -> None:
    content = objects()["annotations"]
    content[1] = annotation(12, 5, 7, mask)
    change(root, annotations=content)
    with pytest.raises(GstoVizError, match=rf"instances_val2017\.json: .*{words}"):
        load_data(f"coco:{root}")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([[1, 2, float("nan"), 4, 5, 6]], "a polygon has a corner at nan pixels"),
        ([[1, 2, float("inf"), 4, 5, 6]], "a polygon has a corner at inf pixels"),
        ([[1, 2, 2e8, 3e8, 5, 6]], "a polygon has a corner at 3e\\+08 pixels"),
        ([[1, 2, 1e308, -1e308, 5, 6]], "a polygon has a corner at 1e\\+308 pixels"),
        ([[0, 0, 16, 12, 16, 0] * 50_000], "a polygon's outline is "),
        ({"size": [WIDTH, HEIGHT], "counts": [192]}, r"its mask is of size \[16, 12\]"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, "its mask is of size"),
        ({"size": FULL, "counts": [10**18]}, "has runs of 1000000000000000000"),
        ({"size": FULL, "counts": [191]}, "a mask of 12 x 16 pixels has runs of 191"),
        ({"size": FULL, "counts": [-1, 193]}, "has runs of 192"),
        ({"size": FULL, "counts": [10**30]}, "has runs of 1000000"),
        ({"size": FULL, "counts": [2**62] * 4 + [192]}, "has runs of 184467"),
        ({"size": FULL, "counts": []}, "has runs of 0"),
        ({"size": FULL, "counts": ""}, "has runs of 0"),
        ({"size": FULL, "counts": [[1], [2, 3]]}, "the runs of a mask are not whole numbers"),
        ({"size": FULL, "counts": [192.0]}, "the runs of a mask are not whole numbers"),
        ({"size": FULL, "counts": packed([0, 192])[:-1]}, "the packed runs of a mask are damaged"),
        ({"size": FULL, "counts": "o" * 10**6}, "the packed runs of a mask are damaged"),
        ({"size": FULL, "counts": "\u20ac"}, "the packed runs of a mask are damaged"),
    ],
)
def test_masks_that_are_wrong_when_they_are_drawn(root: Path, mask: Any, words: str) -> None:
    content = objects()["annotations"]
    content[1] = annotation(12, 5, 7, mask)
    change(root, annotations=content)
    data = load_data(f"coco:{root}")
    assert data[0].id == "a"
    with pytest.raises(GstoVizError, match=rf"image b\.png: annotation 12: .*{words}"):
        data[1]


def test_boxes_alone_are_not_enough(root: Path) -> None:
    boxes = [annotation(k, 5, 3, [], bbox=[0, 0, 3, 3]) for k in range(3)]
    change(root, annotations=boxes)
    with pytest.raises(GstoVizError, match="no annotation has a mask; export instance segment"):
        load_data(f"coco:{root}")


def test_an_image_of_another_size(root: Path) -> None:
    image(root / "val2017" / "b.png", WIDTH, HEIGHT)
    data = load_data(f"coco:{root}")
    with pytest.raises(GstoVizError, match=r"b\.png is 12 x 16 pixels but \S+ says 16 x 12"):
        data[1]
    assert [one.id for one in check_dataset(data, quiet=True)] == ["b"]


def test_without_pycocotools(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(GstoVizError, match=r"install it: pip install 'gsto-viz\[coco\]'$"):
        load_data(f"coco:{root}")
    change(root, annotations=objects()["annotations"][1:])
    assert (load_data(f"coco:{root}")[1].labels[:, 4] == 1).sum() == 10  # run lengths need it not


def test_decoded_copies_follow_the_annotation(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = PredecodedCache(load_data(f"coco:{root}"), cache)[1]
    np.testing.assert_array_equal(first.instances, expected_maps()[1])
    change(root, annotations=objects()["annotations"][:1])
    second = PredecodedCache(load_data(f"coco:{root}"), cache)[1]
    alone = filled([rectangle(1, 1, 5, 4), rectangle(8, 2, 12, 9)])
    np.testing.assert_array_equal(second.instances, alone)


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """Six images of 64 x 96 pixels with squares of three classes on a background."""
    rng = np.random.default_rng(1)
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 0, "name": "background"}, *CATEGORIES],
    }
    for k in range(6):
        content["images"].append({"id": k, "file_name": f"{k}.png", "height": 64, "width": 96})
        write_png(tmp_path / "images" / f"{k}.png", rng.integers(0, 255, (64, 96, 3), np.uint8))
        for n, (side, category) in enumerate(((30, 3), (20, 7), (10, 90))):
            left, top = 32 * n + int(rng.integers(0, 2)), int(rng.integers(0, 30))
            mask = [rectangle(left, top, left + side, top + side)]
            content["annotations"].append(annotation(10 * k + n, k, category, mask))
    write(tmp_path / "annotations" / "instances_default.json", content)
    return tmp_path


def test_from_the_command_line(street: Path, tmp_path: Path, capsys: Any) -> None:
    data = load_data(f"coco:{street}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("hrnetv2-tiny", num_classes=4)
        initialize(model, "kaiming")
    checkpoint = tmp_path / "net.safetensors"
    save_checkpoint(model, checkpoint, info=ModelInfo("net", "hrnetv2-tiny", data.classes))
    words = ["--data", f"coco:{street}", "--device", "cpu", "--quiet"]
    assert main(["evaluate", str(checkpoint), *words, "--json", "-"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert sum(map(sum, value["confusion"])) == 6 * 64 * 96
    assert [sum(row) for row in value["confusion"]][1:] == [6 * 900, 6 * 400, 6 * 100]
    out = tmp_path / "analysis"
    words += ["--out", str(out), "--limit", "3"]
    assert main(["analyze", "--model", f"A={checkpoint}", *words]) == 0
    regions = pd.read_parquet(out / "regions.parquet")
    things = regions[regions.instance_id > 0]
    assert sorted(things.area_px) == sorted([900, 400, 100] * 3)
    (street / "images" / "3.png").unlink()
    assert main(["evaluate", str(checkpoint), "--data", f"coco:{street}"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "1 of 6 images of" in lines[0]
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert re.search(r"\n  coco:PATH\[:train\|val\|test\] +COCO files, classes of its own\n", text)
    assert re.search(r"\n  mapillary:PATH\[:train\|val\] +Mapillary Vistas, classes of its", text)


def test_the_register_lists_the_samples_too(root: Path) -> None:
    row = DATA_SETS["coco"]
    assert [entry.id for entry in row.find(row, root, "val", "eval")] == ["a", "b"]


def test_a_census_draws_the_maps_but_decodes_no_image(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    path = root / "val2017" / "b.png"
    Image.open(path).save(path, exif=exif)
    data = load_data(f"coco:{root}:val")
    samples = [data[index] for index in range(len(data))]
    monkeypatch.setattr("gsto_viz.data.base.read_image", lambda _: pytest.fail("decoded"))
    census = take_census(data)
    assert census.turned == ["b"]
    assert not census.problems
    for k in (0, 1, 2, 255):
        assert census.pixels(k) == sum((one.labels == k).sum() for one in samples)
