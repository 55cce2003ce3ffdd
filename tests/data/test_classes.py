"""Class lists: CamVid's table, the way through classes.json and back, label maps in colour."""

import copy
import json

import numpy as np
import pytest

from gsto_viz.data import CAMVID_CLASSES, class_list_from_json
from gsto_viz.errors import GstoVizError


def test_camvid_table():
    assert CAMVID_CLASSES.names == (
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree",
        "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    )  # fmt: skip
    assert [c.id for c in CAMVID_CLASSES] == list(range(11))
    assert {c.name for c in CAMVID_CLASSES if c.thing} == {
        "Pole", "SignSymbol", "Car", "Pedestrian", "Bicyclist",
    }  # fmt: skip
    assert CAMVID_CLASSES.classes[4].color == (60, 40, 222)
    assert len({c.color for c in CAMVID_CLASSES}) == 11


def test_json_round_trip():
    text = json.dumps(CAMVID_CLASSES.to_json())
    assert class_list_from_json(json.loads(text)) == CAMVID_CLASSES


def test_entries_may_come_in_any_order():
    value = CAMVID_CLASSES.to_json()
    value["classes"].reverse()
    assert class_list_from_json(value) == CAMVID_CLASSES


def _with(path, replacement):
    """CamVid's JSON with one place changed (or removed, for None)."""
    value = copy.deepcopy(CAMVID_CLASSES.to_json())
    place = value
    for step in path[:-1]:
        place = place[step]
    if replacement is None:
        del place[path[-1]]
    else:
        place[path[-1]] = replacement
    return value


@pytest.mark.parametrize(
    ("path", "replacement", "words"),
    [
        (("colours",), [], "unknown key 'colours'"),
        (("name",), None, "no key 'name'"),
        (("name",), "  ", "key 'name'"),
        (("ignore",), 10, "key 'ignore' is 10"),
        (("ignore",), True, "key 'ignore' is True"),
        (("ignore",), 65536, "key 'ignore'"),
        (("classes",), {}, "key 'classes'"),
        (("classes",), [], "key 'classes'"),
        (("classes", 3), "Road", r"classes\[3\] must be an object"),
        (("classes", 3, "weight"), 1, r"classes\[3\] has an unknown key 'weight'"),
        (("classes", 3, "kind"), None, r"classes\[3\] has no key 'kind'"),
        (("classes", 3, "kind"), "object", r"classes\[3\].kind"),
        (("classes", 3, "kind"), [], r"classes\[3\].kind"),
        (("classes", 3, "id"), 2, r"classes\[3\].id repeats id 2 of classes\[2\]"),
        (("classes", 3, "id"), 12, "no id 3"),
        (("classes", 3, "id"), 255, r"classes\[3\].id"),
        (("classes", 3, "id"), 3.0, r"classes\[3\].id"),
        (("classes", 3, "id"), True, r"classes\[3\].id"),
        (("classes", 3, "name"), 7, r"classes\[3\].name"),
        (("classes", 3, "name"), "sky", r"classes\[3\].name repeats the name 'sky'"),
        (("classes", 3, "color"), [1, 2], r"classes\[3\].color"),
        (("classes", 3, "color"), [1, 2, 256], r"classes\[3\].color"),
        (("classes", 3, "color"), [1, 2, -1], r"classes\[3\].color"),
        (("classes", 3, "color"), [1, 2, True], r"classes\[3\].color"),
        (("classes", 3, "color"), "#ff0000", r"classes\[3\].color"),
    ],
)
def test_wrong_json_names_file_and_key(path, replacement, words):
    with pytest.raises(GstoVizError, match=r"^my/classes\.json: .*" + words):
        class_list_from_json(_with(path, replacement), source="my/classes.json")


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_json_that_is_no_object(value):
    with pytest.raises(GstoVizError, match="must be an object"):
        class_list_from_json(value)


def test_flip_pairs_round_trip_and_order():
    value = _with(("flip_pairs",), [[2, 5], [10, 0]])
    classes = class_list_from_json(value)
    assert classes.flip_pairs == ((2, 5), (10, 0))
    assert classes.flip_order == (10, 1, 5, 3, 4, 2, 6, 7, 8, 9, 0)
    assert class_list_from_json(json.loads(json.dumps(classes.to_json()))) == classes
    assert "flip_pairs" not in CAMVID_CLASSES.to_json()
    assert CAMVID_CLASSES.flip_order == tuple(range(11))


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (3, "must be a list of pairs"),
        ({"a": 1}, "must be a list of pairs"),
        ([[1, 2], [3]], "must be a list of pairs"),
        ([[1, 11]], "names class 11; the ids go from 0 to 10"),
        ([[1, "2"]], "names class '2'"),
        ([[1, 2], [2, 3]], "names class 2 twice"),
        ([[4, 4]], "names class 4 twice"),
    ],
)
def test_wrong_flip_pairs(pairs, words):
    with pytest.raises(GstoVizError, match=r"^my/c\.json: key 'flip_pairs' " + words):
        class_list_from_json(_with(("flip_pairs",), pairs), source="my/c.json")


def test_another_ignore_value_is_allowed():
    value = _with(("ignore",), 11)
    assert class_list_from_json(value) == CAMVID_CLASSES


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32])
def test_paint_pixel_by_pixel(dtype):
    labels = np.array([[0, 1, 255], [10, 4, 255]], dtype=dtype)
    picture = CAMVID_CLASSES.paint(labels)
    assert picture.dtype == np.uint8
    assert picture.shape == (2, 3, 3)
    for y in range(2):
        for x in range(3):
            label = int(labels[y, x])
            expected = (0, 0, 0) if label == 255 else CAMVID_CLASSES.classes[label].color
            assert tuple(picture[y, x]) == expected


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([[0, 11]]), "label 11 is outside the 11 classes"),
        (np.array([[0, -1]]), "label -1"),
        (np.array([[300]]), "label 300"),
        (np.zeros((2, 2, 3), np.uint8), r"\(2, 2, 3\)"),
        (np.zeros((2, 2)), "float64"),
    ],
)
def test_paint_refuses(labels, words):
    with pytest.raises(GstoVizError, match=words):
        CAMVID_CLASSES.paint(labels)
