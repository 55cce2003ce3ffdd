"""classes.json says which numbers of the label maps mean which class, or the data are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError


def write(root: Path, labels: np.ndarray, count: int, *, suffix: str = "", **keys: object) -> str:
    """Write a folder with one label map; return its SPEC."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", labels.shape[::-1]).save(root / "images" / "a.png")
    Image.fromarray(labels).save(root / "labels" / f"a{suffix}.png")
    classes = [
        {"id": k, "name": f"c{k}", "color": [k, 0, 0], "kind": "stuff"} for k in range(count)
    ]
    value = {"name": "toy", "ignore": 255, "classes": classes} | keys
    (root / "classes.json").write_text(json.dumps(value), encoding="utf-8")
    return f"folder:{root}"


MAP = np.array([[0, 1, 2, 7], [255, 7, 1, 0]], np.uint8)


@pytest.mark.parametrize(
    ("labels", "keys", "expected"),
    [
        (MAP % 3, {"ignore": 0, "ids": [1, 2]}, [[255, 0, 1, 0], [255, 0, 0, 255]]),
        (MAP, {"map": {"0": "ignore", "1": 0, "2": 0, "7": 1}}, [[255, 0, 0, 1], [255, 1, 0, 255]]),
        (MAP, {"map": {"0": 1, "1": 0, "2": 1, "7": 0, "255": 1}}, [[1, 0, 1, 0], [1, 0, 0, 1]]),
        (MAP // 255 * 255, {"map": {"255": 1}}, [[0, 0, 0, 0], [1, 0, 0, 0]]),
        (MAP // 255 * 255, {"ids": [255, 0]}, [[1, 1, 1, 1], [0, 1, 1, 1]]),
    ],
)
def test_numbers_mean_what_classes_json_says(
    tmp_path: Path, labels: np.ndarray, keys: dict, expected: list
) -> None:
    assert load_data(write(tmp_path, labels, 2, **keys))[0].labels.tolist() == expected


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0, 1, 2], r'"ignore": 0, "ids": \[1, 2\]'),
        ([0, 7], r'"ids": \[0, 7\]'),
        ([7, 11], r'"ids": \[7, 11\]'),
        ([3, 7, 9], r'"map": \{"3": 0\}'),
    ],
)
def test_the_refusal_shows_the_line_to_write(tmp_path: Path, values: list[int], line: str) -> None:
    data = load_data(write(tmp_path, np.array([values], np.uint8), 2))
    with pytest.raises(GstoVizError, match=line):
        data[0]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"ids": [1]}, "list of 2 different numbers"),
        ({"ids": [1, 1]}, "list of 2 different numbers"),
        ({"ids": [1, 70000]}, "list of 2 different numbers"),
        ({"ids": [0, 1], "map": {}}, "keep one of them"),
        ({"map": [1]}, "must be an object"),
        ({"map": {"x": 0}}, "holds 'x'"),
        ({"map": {"7": 2}}, "from 0 to 1 or"),
        ({"map": {"7": True}}, "from 0 to 1 or"),
        ({"map": {"1": 0}}, "says none for class 1"),
        ({"ids": [1, 2], "ignore": 1}, "key 'ignore' is 1"),
        ({"ignore": "0"}, "key 'ignore' is '0'"),
        ({"label_suffix": "/../x"}, "label_suffix"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, keys: dict, said: str) -> None:
    with pytest.raises(GstoVizError, match=said):
        load_data(write(tmp_path, MAP, 2, **keys))


def test_class_ids_with_gaps_show_the_line(tmp_path: Path) -> None:
    spec = write(tmp_path, MAP, 2)
    path = tmp_path / "classes.json"
    path.write_text(path.read_text().replace('"id": 1', '"id": 7'))
    with pytest.raises(GstoVizError, match=r'"ids": \[0, 7\]'):
        load_data(spec)


def test_label_suffix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write(tmp_path, MAP % 2, 2, suffix="_L")
    assert main(["check", spec]) == 2
    assert '"label_suffix": "_L"' in capsys.readouterr().err
    data = load_data(write(tmp_path, MAP % 2, 2, suffix="_L", label_suffix="_L"))
    assert data.ids == ("a",)
    assert (data[0].labels == MAP % 2).all()


def test_the_advice_for_a_mask_of_0_and_255_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[:20] = 255
    assert main(["check", write(tmp_path, labels, 2)]) == 2
    assert '"map": {"255": 1}' in capsys.readouterr().err
    assert main(["check", write(tmp_path, labels, 2, map={"255": 1})]) == 0


NUMBER = st.one_of(st.integers(0, 6), st.just(255))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 4),
    entries=st.dictionaries(NUMBER, st.one_of(st.integers(0, 3), st.just("ignore")), max_size=6),
    ignore=NUMBER,
    seed=st.integers(0, 99),
)
def test_any_map_gives_the_right_numbers_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, count: int, entries: dict, ignore: int, seed: int
) -> None:
    values = np.random.default_rng(seed).choice(np.array([0, 1, 2, 5, 255], np.uint8), (3, 4))
    root = tmp_path_factory.mktemp("map")
    keys = {"map": {str(k): v for k, v in entries.items()}, "ignore": ignore}
    try:
        labels = load_data(write(root, values, count, **keys))[0].labels
    except GstoVizError:
        return
    for number, label in zip(values.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if number in entries:
            assert label == (255 if entries[number] == "ignore" else entries[number])
        elif number in (255, ignore):
            assert label == 255
        else:
            assert label == number < count
