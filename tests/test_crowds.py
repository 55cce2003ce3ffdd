"""Things that were not annotated one by one have no size; an instance has one class."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from gsto_viz import region_table
from gsto_viz.census import take_census
from gsto_viz.data import load_data, with_objects
from gsto_viz.evaluate import Options, evaluate
from gsto_viz.regions import find_regions
from gsto_viz.report import analyze
from gsto_viz.stats.compare import Specification, specified_values
from gsto_viz.types import CROWD, ClassInfo, ClassList, Sample

SIZE = (96, 160)
CLASSES = ClassList(
    "toy",
    (
        ClassInfo(0, "road", (0, 0, 0), thing=False),
        ClassInfo(1, "car", (90, 0, 0), thing=True),
        ClassInfo(2, "man", (0, 90, 0), thing=True),
    ),
)


def scene(k: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A car of 16 x 16 px, a crowd of cars of 32 x 64 px that touches it, a man of 8 x 8 px."""
    labels = np.zeros(SIZE, np.uint8)
    numbers = np.zeros(SIZE, np.int32)
    labels[8:24, 8:24], numbers[8:24, 8:24] = 1, 4
    labels[24:56, 8:72] = 1
    labels[70:78, 90 + k : 98 + k], numbers[70:78, 90 + k : 98 + k] = 2, 9
    return labels, numbers


class Own:
    """Somebody's own data set: numbers as ``numbers_of`` gives them."""

    name, classes, ids = "own", CLASSES, ("a", "b", "c")

    def __init__(self, numbers_of=lambda labels, numbers: numbers):
        self.numbers_of = numbers_of

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        labels, numbers = scene(index)
        image = np.random.default_rng(index).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
        return Sample(self.ids[index], image, labels, self.numbers_of(labels, numbers))


def test_a_crowd_is_a_region_that_does_not_qualify() -> None:
    labels, numbers = scene()
    numbers[(labels == 1) & (numbers == 0)] = CROWD
    regions = find_regions(labels, numbers)
    found = {
        (int(c), int(i)): (int(a), bool(q))
        for c, i, a, q in zip(
            regions.class_id, regions.instance_id, regions.area_px, regions.qualifies, strict=True
        )
    }
    rest = 96 * 160 - 16 * 16 - 32 * 64 - 8 * 8
    assert found == {
        (0, 0): (rest, True),
        (1, 4): (256, True),
        (1, CROWD): (2048, False),
        (2, 9): (64, True),
    }
    # It still bounds the car: the lowest row of the car is one pixel from the outside.
    assert (regions.distance_px[23, 8:24] == 1).all()


def test_a_crowd_touches_no_thing_without_a_number_of_its_class() -> None:
    labels = np.ones((20, 20), np.uint8)
    numbers = np.zeros((20, 20), np.int32)
    numbers[:, 10:] = CROWD
    assert list(find_regions(labels, numbers).area_px) == [200, 200]


def test_ignored_pixels_are_of_no_crowd() -> None:
    labels, numbers = np.full((9, 9), 255, np.uint8), np.full((9, 9), CROWD, np.int32)
    assert len(find_regions(labels, numbers)) == 0


def test_own_data_sets_get_objects_and_their_crowds_have_no_size() -> None:
    data = with_objects(Own())
    for k, sample in enumerate(data):
        labels, numbers = scene(k)
        crowd = (labels == 1) & (numbers == 0)
        assert (sample.instances == np.where(crowd, CROWD, numbers)).all()
        assert (sample.labels == labels).all()
    plain = load_data("scenes:count=2,size=64x96")
    for one, other in zip(plain, with_objects(plain), strict=True):
        assert (one.instances == other.instances).all()


def test_an_instance_of_a_users_data_set_is_cut_by_class() -> None:
    def one_for_all(labels, numbers):
        return (labels > 0).astype(np.int32)

    for k, sample in enumerate(with_objects(Own(one_for_all))):
        labels, _ = scene(k)
        assert (sample.instances[labels == 1] == 1).all()
        assert (sample.instances[labels == 2] == 2).all()
        regions = find_regions(sample.labels, sample.instances)
        assert sorted(regions.area_px) == [64, 256 + 2048, 96 * 160 - 64 - 256 - 2048]
        assert sorted(regions.class_id) == [0, 1, 2]
    assert take_census(Own(one_for_all)).mixed == {"a": 1, "b": 1, "c": 1}


class Guess(nn.Module):
    """Says road everywhere."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 3, 1)
        nn.init.zeros_(self.head.weight)
        self.head.bias.data = self.head.bias.new_tensor([1.0, 0.0, 0.0])

    def forward(self, image):
        return self.head(image)


def test_scores_by_size_leave_crowds_out_and_class_scores_keep_them() -> None:
    result = evaluate(Guess(), Own(), Options(outcome=True))
    rows = result.outcome.sizes
    regions = rows[rows["measure"] == "recall"].set_index("octave")["n_regions"]
    # 8 px, 16 px, and the road; 45 px (the crowd) is missing.
    assert dict(regions) == {3: 3, 4: 3, 6: 3}
    assert result.confusion[1].sum() == 3 * (256 + 2048)


def test_analyze_and_the_census_do_not_count_crowds(networks, tmp_path: Path) -> None:
    data = Own()
    report = analyze({"A": _three(networks)}, data, tmp_path / "r", nulls=["N1", "N2"])
    table = report.table("A")
    crowds = table[table["instance_id"] == CROWD]
    assert list(crowds["area_px"]) == [2048] * 3
    assert not crowds["qualifies"].any()
    assert table[table["qualifies"]].groupby("image").size().max() <= 3
    census = take_census(data)
    assert census.objects == {(0, 6): 3, (1, 4): 3, (2, 3): 3}


def _three(networks):
    """A tiny network of three classes."""
    import torch

    from gsto_viz.models import build_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model("hrnetv2-tiny", num_classes=3).eval()


def test_no_floor_lets_small_pieces_of_crowds_in() -> None:
    labels, numbers = scene()
    labels[90:95, 100:105] = 1
    numbers[(labels == 1) & (numbers == 0)] = CROWD
    rng = np.random.default_rng(0)
    maps = [rng.random((96 // s, 160 // s)).astype(np.float32) for s in (4, 8)]
    table = region_table(labels, maps, (4, 8), numbers)
    without = table[table["instance_id"] != CROWD]
    for area in (16, 64):
        one, two = (specified_values(x, Specification(min_area_px=area)) for x in (table, without))
        assert one.equals(two)


@pytest.mark.parametrize("kind", ["thing", "stuff"])
def test_a_folder_says_by_kind_what_has_instances(tmp_path: Path, kind: str) -> None:
    for part in ("images", "labels", "instances"):
        (tmp_path / part).mkdir()
    classes = CLASSES.to_json()
    classes["classes"][1]["kind"] = kind
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    labels, numbers = scene()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "images" / "0.png")
    Image.fromarray(labels).save(tmp_path / "labels" / "0.png")
    Image.fromarray(numbers.astype(np.uint16)).save(tmp_path / "instances" / "0.png")
    data = load_data(f"folder:{tmp_path}")
    assert (data[0].instances == numbers).all()
    sample = with_objects(data)[0]
    crowd = (labels == 1) & (numbers == 0)
    expected = np.where(crowd, CROWD, numbers) if kind == "thing" else numbers
    assert (sample.instances == expected).all()


def test_things_that_never_have_a_number_are_said() -> None:
    def men_alone(labels, numbers):
        return np.where(labels == 2, numbers, 0)

    found = {one.code: str(one) for one in take_census(Own(men_alone)).findings()}
    assert found["crowds"].startswith("1 class of things has no instance number in any instance")
    assert "map: car " in found["crowds"]
    assert "crowds" not in {one.code for one in take_census(Own()).findings()}
