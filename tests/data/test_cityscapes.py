"""Cityscapes: a small tree in the layout of its download, every label id, every message."""

import pickle
import shutil
from collections import Counter

import numpy as np
import pytest

from gsto_viz.data import DATA_SETS, load_data, shipped_classes, write_png
from gsto_viz.errors import GstoVizError

open_split = DATA_SETS["cityscapes"].open

CITYSCAPES_CLASSES = shipped_classes("cityscapes")

# id, name, train id, has instances, ignored in evaluation: the table of the Cityscapes scripts.
LABELS = """
0 unlabeled 255 0|1 ego vehicle 255 0|2 rectification border 255 0|3 out of roi 255 0|4 static 255 0
5 dynamic 255 0|6 ground 255 0|7 road 0 0|8 sidewalk 1 0|9 parking 255 0|10 rail track 255 0
11 building 2 0|12 wall 3 0|13 fence 4 0|14 guard rail 255 0|15 bridge 255 0|16 tunnel 255 0
17 pole 5 0|18 polegroup 255 0|19 traffic light 6 0|20 traffic sign 7 0|21 vegetation 8 0
22 terrain 9 0|23 sky 10 0|24 person 11 1|25 rider 12 1|26 car 13 1|27 truck 14 1|28 bus 15 1
29 caravan 255 1|30 trailer 255 1|31 train 16 1|32 motorcycle 17 1|33 bicycle 18 1
"""


def label_rows():
    for entry in LABELS.replace("\n", "|").split("|"):
        if entry.strip():
            first, *name, train_id, thing = entry.split()
            yield int(first), " ".join(name), int(train_id), thing == "1"


def add_frame(root, split, frame, labels=None, instances=None, kinds=("labelIds", "instanceIds")):
    """One 34 x 5 frame; by default row L holds label id L, with two instances for countable ids."""
    city = frame.split("_")[0]
    write_png(
        root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png",
        np.full((34, 5, 3), len(frame), np.uint8),
    )
    if labels is None:
        labels = np.repeat(np.arange(34, dtype=np.uint8)[:, None], 5, axis=1)
    if instances is None:
        instances = labels.astype(np.uint16)
        for id_, _, _, thing in label_rows():
            if thing:  # columns 0, 1: instance 0; 2, 3: instance 7; 4: a group
                instances[labels == id_] = id_
                instances[id_, :2], instances[id_, 2:4] = 1000 * id_, 1000 * id_ + 7
    table = np.array([row[2] for row in label_rows()] + [255] * 222, np.uint8)
    maps = {"labelIds": labels, "instanceIds": instances, "labelTrainIds": table[labels]}
    for kind in kinds:
        write_png(root / "gtFine" / split / city / f"{frame}_gtFine_{kind}.png", maps[kind])
    (root / "gtFine" / split / city / f"{frame}_gtFine_polygons.json").write_text("{}")


def make_tree(root):
    for frame in ("ulm_000001_000019", "aachen_000000_000019", "aachen_000000_000119"):
        add_frame(root, "train", frame)
    for frame in ("lindau_000000_000019", "frankfurt_000001_000294", "frankfurt_000000_000576"):
        add_frame(root, "val", frame)
    add_frame(root, "test", "bonn_000000_000019")
    return root


def test_the_class_list_is_that_of_the_scripts():
    evaluated = [(name, thing) for _, name, train_id, thing in label_rows() if train_id != 255]
    assert [(c.name, c.thing) for c in CITYSCAPES_CLASSES] == evaluated
    assert len({c.color for c in CITYSCAPES_CLASSES}) == 19
    assert CITYSCAPES_CLASSES.classes[13].color == (0, 0, 142)


def test_every_label_id_and_every_instance(tmp_path):
    sample = open_split(make_tree(tmp_path), "val")[0]
    assert sample.id == "frankfurt_000000_000576"
    assert sample.image.shape == (34, 5, 3)
    for id_, _, train_id, thing in label_rows():
        assert (sample.labels[id_] == train_id).all()
        counted = thing and train_id != 255
        expected = [1000 * id_] * 2 + [1000 * id_ + 7] * 2 + [0] if counted else [0] * 5
        assert sample.instances[id_].tolist() == expected
    assert (sample.labels.dtype, sample.instances.dtype) == (np.uint8, np.int32)


def test_order_groups_names_and_splits(tmp_path):
    make_tree(tmp_path)
    val = open_split(tmp_path, "val")
    assert val.ids == (
        "frankfurt_000000_000576", "frankfurt_000001_000294", "lindau_000000_000019",
    )  # fmt: skip
    assert val.groups == ("frankfurt/000000", "frankfurt/000001", "lindau/000000")
    assert tuple(s.group for s in val) == val.groups
    assert val.name == f"cityscapes:{tmp_path}:val"
    both = open_split(tmp_path, "trainval")
    assert len(both) == 6
    assert Counter(both.groups)["aachen/000000"] == 2
    again = pickle.loads(pickle.dumps(val))
    assert np.array_equal(again[2].labels, val[2].labels)


def test_the_test_split_has_images_only(tmp_path):
    test = open_split(make_tree(tmp_path), "test")
    assert test.ids == ("bonn_000000_000019",)
    assert (test[0].labels, test[0].instances) == (None, None)
    assert (test.files(0).labels, test.files(0).instances) == (None, None)
    shutil.rmtree(tmp_path / "gtFine" / "test")
    assert open_split(tmp_path, "test")[0].labels is None


def test_spec_and_purpose(tmp_path):
    make_tree(tmp_path)
    training, rest = (
        load_data(f"cityscapes:{tmp_path}", purpose="train"),
        load_data(f"cityscapes:{tmp_path}"),
    )
    assert (training.name, rest.name) == (f"cityscapes:{tmp_path}:train", rest.name)
    assert training[0].instances is None
    assert rest[0].instances is not None
    assert training.files(0).instances is None
    assert rest.files(0).instances.name == "frankfurt_000000_000576_gtFine_instanceIds.png"
    with pytest.raises(GstoVizError, match=r"unknown split 'tset' .* did you mean 'test'"):
        load_data(f"cityscapes:{tmp_path}:tset")


def test_train_ids_where_only_those_are(tmp_path):
    add_frame(tmp_path, "val", "ulm_000000_000019")
    add_frame(tmp_path, "val", "ulm_000000_000020", kinds=("labelTrainIds", "instanceIds"))
    add_frame(tmp_path, "val", "ulm_000000_000021", kinds=("labelTrainIds", "labelIds"))
    (tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_instanceIds.png").unlink()
    (tmp_path / "gtFine/val/ulm/ulm_000000_000020_gtFine_instanceIds.png").unlink()
    samples = list(open_split(tmp_path, "val"))
    for sample in samples[1:]:
        assert np.array_equal(sample.labels, samples[0].labels)
        assert sample.instances is None


def test_wrong_folders_say_what_is_expected(tmp_path):
    tree = r"; a Cityscapes folder holds leftImg8bit/SPLIT/CITY/CITY_SEQ_FRAME_leftImg8bit\.png and"
    make_tree(tmp_path / "c")
    for root, missing in (
        (tmp_path / "nowhere", "nowhere"),
        (tmp_path, "leftImg8bit"),
        (tmp_path / "c" / "leftImg8bit", "leftImg8bit/leftImg8bit"),
    ):
        with pytest.raises(GstoVizError, match=rf"no folder \S+{missing}{tree}"):
            open_split(root, "val")
    with pytest.raises(GstoVizError, match="Cityscapes has no split 'eval'; choose one of train"):
        open_split(tmp_path / "c", "eval")
    shutil.rmtree(tmp_path / "c" / "gtFine" / "val" / "lindau")
    with pytest.raises(GstoVizError, match=rf"no folder \S+gtFine/val/lindau{tree}"):
        open_split(tmp_path / "c", "val")
    shutil.rmtree(tmp_path / "c" / "gtFine")
    with pytest.raises(GstoVizError, match=rf"no folder \S+gtFine{tree}"):
        open_split(tmp_path / "c", "val")
    for city in (tmp_path / "c" / "leftImg8bit" / "val").iterdir():
        shutil.rmtree(city)
    with pytest.raises(
        GstoVizError, match=r"no \*_leftImg8bit\.png in the folders of \S+val" + tree
    ):
        open_split(tmp_path / "c", "val")


@pytest.mark.parametrize("kind", ["labelIds", "instanceIds"])
def test_image_without_map(tmp_path, kind):
    make_tree(tmp_path)
    name = f"frankfurt_000001_000294_gtFine_{kind}.png"
    (tmp_path / "gtFine" / "val" / "frankfurt" / name).unlink()
    what = "label map" if kind == "labelIds" else "instance map"
    with pytest.raises(
        GstoVizError, match=rf"frankfurt_000001_000294_left\S+ has no {what}; add \S+{name} or"
    ):
        open_split(tmp_path, "val")


def test_label_ids_outside_the_list_and_other_sizes(tmp_path):
    wrong = np.zeros((34, 5), np.uint8)
    wrong[3, :2], wrong[4, 0], wrong[5] = 34, 200, 255
    add_frame(tmp_path, "val", "ulm_000000_000019", labels=wrong, instances=wrong.astype("uint16"))
    with pytest.raises(
        GstoVizError,
        match=r"labelIds\.png holds label 34 \(2 pixels\), 200 \(1 pixel\), 255 \(5 pixels\), "
        "outside the label ids 0 to 33",
    ):
        open_split(tmp_path, "val")[0]
    train_ids = tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_labelTrainIds.png"
    write_png(train_ids, np.full((34, 5), 19, np.uint8))
    train_ids.with_name("ulm_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(GstoVizError, match=r"holds label 19 .* outside the train ids 0 to 18"):
        open_split(tmp_path, "val")[0]
    write_png(train_ids, np.full((5, 34), 1, np.uint8))
    with pytest.raises(GstoVizError, match=r"is 5 x 34 pixels but \S+TrainIds.png is 34 x 5"):
        open_split(tmp_path, "val")[0]
    write_png(train_ids, np.full((34, 5), 1, np.uint8))
    write_png(
        train_ids.with_name("ulm_000000_000019_gtFine_instanceIds.png"), np.zeros((3, 5), np.uint16)
    )
    with pytest.raises(GstoVizError, match=r"instanceIds\.png is 5 x 3; both must have the same"):
        open_split(tmp_path, "val")[0]
