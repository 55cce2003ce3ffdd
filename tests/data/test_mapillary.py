"""Mapillary Vistas: both versions and the older folders, maps against loops over pixels."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsto_viz.data import DATA_SETS, load_data, weights_notice, write_png
from gsto_viz.errors import GstoVizError

HEIGHT, WIDTH = 6, 9


def label(name: str, *, evaluate: bool = True, instances: bool = False, color: int = 0) -> dict:
    return {
        "name": f"object--{name.lower()}",
        "readable": name,
        "color": [color, 10, 20],
        "evaluate": evaluate,
        "instances": instances,
    }


OLD = [
    label("Bird", instances=True, color=1),
    label("Road", color=2),
    label("Ego Vehicle", evaluate=False),
    label("Car", instances=True, color=3),
    label("Unlabeled", evaluate=False),
]
NEW = [label("Car", instances=True), label("Unlabeled", evaluate=False), label("Sky")]
CLASS_OF = {0: 0, 1: 1, 2: 255, 3: 2, 4: 255}
"""The class of each label of ``OLD``."""


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def draw(folder: Path, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Write random maps of ``count`` labels, with up to three instances of each."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count, (HEIGHT, WIDTH))
    numbers = labels * 256 + rng.integers(0, 3, (HEIGHT, WIDTH))
    write_png(folder / "labels" / "x.png", labels.astype(np.uint8))
    write_png(folder / "instances" / "x.png", numbers.astype(np.uint16))
    return labels, numbers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of version 2.0, which brings the annotation of 1.2 as well."""
    write(tmp_path / "config_v1.2.json", {"version": "1.2", "labels": OLD})
    write(tmp_path / "config_v2.0.json", {"version": "2.0", "labels": NEW})
    for part in ("training", "validation"):
        image = np.full((HEIGHT, WIDTH, 3), len(part), np.uint8)
        write_png(tmp_path / part / "images" / "x.jpg", image)
        draw(tmp_path / part / "v1.2", len(OLD), 1)
        draw(tmp_path / part / "v2.0", len(NEW), 2)
    return tmp_path


def check_old(data: Any, labels: np.ndarray, numbers: np.ndarray) -> None:
    """Compare a sample of version 1.2 with its numbers, pixel by pixel."""
    assert data.classes.names == ("Bird", "Road", "Car")
    assert [one.thing for one in data.classes] == [True, False, True]
    assert data.classes.colors.tolist() == [[1, 10, 20], [2, 10, 20], [3, 10, 20]]
    sample = data[0]
    seen = set()
    for y in range(HEIGHT):
        for x in range(WIDTH):
            assert sample.labels[y, x] == CLASS_OF[int(labels[y, x])]
            counted = labels[y, x] in (0, 3)
            assert sample.instances[y, x] == (numbers[y, x] + 1 if counted else 0)
            seen.add(int(sample.instances[y, x]))
    assert seen == {0, 1, 2, 3, 769, 770, 771}  # object 0 of label 0 is an object, too
    assert (sample.labels.dtype, sample.instances.dtype) == (np.uint8, np.int32)


def test_the_newest_version_is_taken(root: Path) -> None:
    data = load_data(f"mapillary:{root}")
    assert data.name == f"mapillary:{root}:val"
    assert data.ids == ("x",)
    assert data.classes.names == ("Car", "Sky")
    labels, _ = draw(root / "again", len(NEW), 2)
    np.testing.assert_array_equal(data[0].labels, np.array([0, 255, 1])[labels])
    assert (data[0].image == len("validation")).all()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data))[0].labels, data[0].labels)
    train = load_data(f"mapillary:{root}:train", purpose="train")[0]
    assert (train.image == len("training")).all()
    assert train.instances is None


def test_a_config_file_chooses_the_version(root: Path) -> None:
    data = load_data(f"mapillary:{root}/config_v1.2.json:val")
    assert data.name == f"mapillary:{root}/config_v1.2.json:val"
    check_old(data, *draw(root / "again", len(OLD), 1))


@pytest.mark.parametrize("inner", ["", "v1.2"])
@pytest.mark.parametrize("config", ["config.json", "config_v1.2.json"])
def test_older_folders(tmp_path: Path, inner: str, config: str) -> None:
    write(tmp_path / config, {"labels": OLD})
    write_png(tmp_path / "validation/images/x.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    maps = draw(tmp_path / "validation" / inner, len(OLD), 1)
    check_old(load_data(f"mapillary:{tmp_path}"), *maps)
    for path in (tmp_path / "validation" / inner / "instances").iterdir():
        path.unlink()
    with pytest.raises(GstoVizError, match="1 of 1 images have no instance map"):
        load_data(f"mapillary:{tmp_path}")
    (tmp_path / "validation" / inner / "instances").rmdir()
    assert load_data(f"mapillary:{tmp_path}")[0].instances is None


def test_names_that_read_alike_are_written_in_full(root: Path) -> None:
    labels = [{**label("Car"), "name": f"{k}--car"} for k in range(2)]
    write(root / "config_v2.0.json", {"labels": [*labels, {**label("Sky"), "readable": "Sky"}]})
    assert load_data(f"mapillary:{root}").classes.names == ("0--car", "1--car", "Sky")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "has no list 'labels' of 1 to 256 labels"),
        ({"labels": {}}, "has no list 'labels'"),
        ({"labels": []}, "has no list 'labels'"),
        ({"labels": NEW * 100}, "has no list 'labels'"),
        ({"labels": [3]}, r"labels\[0\].evaluate is None; write true or false"),
        ({"labels": [{**NEW[0], "evaluate": 1}]}, r"labels\[0\].evaluate is 1; write"),
        ({"labels": [label("x", evaluate=False)]}, "says 'evaluate' of no label; take the file"),
        ({"labels": [{**NEW[0], "instances": "no"}]}, r"labels\[0\].instances is 'no'"),
        ({"labels": [{**NEW[0], "color": "red"}]}, r"classes\[0\].color is 'red'"),
        ({"labels": [{**NEW[0], "readable": " "}]}, r"classes\[0\].name is ' '"),
    ],
)
def test_wrong_config_files(root: Path, content: Any, words: str) -> None:
    write(root / "config_v2.0.json", content)
    with pytest.raises(GstoVizError, match=rf"config_v2\.0\.json.*{words}"):
        load_data(f"mapillary:{root}")


def test_wrong_files(root: Path) -> None:
    (root / "config_v2.0.json").write_text('{"labels": [')
    with pytest.raises(GstoVizError, match=r"config_v2\.0\.json is not valid JSON"):
        load_data(f"mapillary:{root}")
    write(root / "config_v2.0.json", {"labels": NEW[:2]})
    with pytest.raises(GstoVizError, match=r"holds label 2 .*, outside the labels 0 to 1"):
        load_data(f"mapillary:{root}")[0]
    write(root / "mine.json", {"labels": NEW})
    with pytest.raises(GstoVizError, match=r"no labels that go with \S+mine\.json in \S+"):
        load_data(f"mapillary:{root}/mine.json")
    for name in ("config_v1.2.json", "config_v2.0.json"):
        (root / name).unlink()
    with pytest.raises(GstoVizError, match=r"no config file .*; a Mapillary Vistas folder holds"):
        load_data(f"mapillary:{root}")
    with pytest.raises(GstoVizError, match=r"no folder \S+/x; a Mapillary Vistas folder holds"):
        DATA_SETS["mapillary"].open(root / "x")
    with pytest.raises(GstoVizError, match="Mapillary Vistas has no split 'test'"):
        DATA_SETS["mapillary"].open(root, "test")


def test_an_instance_map_that_was_saved_with_8_bits(root: Path) -> None:
    path = root / "validation" / "v2.0" / "instances" / "x.png"
    write_png(path, np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(GstoVizError, match=r"instances/x\.png has 8 bits a pixel"):
        load_data(f"mapillary:{root}")[0]


def test_weights_say_what_they_may_be_used_for() -> None:
    assert "non-commercial" in str(weights_notice("mapillary:/p:train"))
