"""CamVid from a folder: small trees written here; the real one where GSTO_VIZ_CAMVID is set."""

import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsto_viz.data import CAMVID_CLASSES, DATA_SETS, write_png
from gsto_viz.errors import GstoVizError

open_split = DATA_SETS["camvid"].open


def make_split(root, split, stems, suffix=".png"):
    for k, stem in enumerate(stems):
        write_png(root / split / f"{stem}.png", np.full((4, 6, 3), k, np.uint8))
        if suffix != ".png":
            (root / split / f"{stem}.png").rename(root / split / f"{stem}{suffix}")
        labels = np.arange(24, dtype=np.uint8).reshape(4, 6) % 12
        write_png(root / f"{split}annot" / f"{stem}.png", labels)


def frames(sequence, count, step=2):
    return [f"{sequence}_{7000 + step * k:05d}" for k in range(count)]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPG", ".jpeg"])
def test_reads_images_and_labels(tmp_path, suffix):
    make_split(tmp_path, "val", frames("A", 3), suffix)
    (tmp_path / "val" / ".hidden.png").write_bytes(b"")
    (tmp_path / "val" / "Thumbs.db").write_bytes(b"")
    data = open_split(tmp_path, "val")
    assert len(data) == 3
    assert data.ids == ("A_07000", "A_07002", "A_07004")
    assert data.name == f"camvid:{tmp_path}:val"
    assert data.classes is CAMVID_CLASSES
    sample = data[1]
    assert sample.id == "A_07002"
    assert sample.group == "A/block0"
    assert sample.instances is None
    assert (sample.image == 1).all()
    for y in range(4):
        for x in range(6):
            value = (6 * y + x) % 12
            assert sample.labels[y, x] == (255 if value == 11 else value)
    assert data[-1].id == "A_07004"
    assert [s.id for s in data] == list(data.ids)
    for index in (3, -4):
        with pytest.raises(IndexError):
            data[index]


def test_blocks_of_consecutive_frames(tmp_path):
    make_split(tmp_path, "val", frames("B", 30) + frames("A", 26))
    make_split(tmp_path, "eval", frames("C", 11))
    make_split(tmp_path, "train", frames("B", 26, step=3)[1:])
    val = open_split(tmp_path, "val")
    assert list(val.ids) == sorted(val.ids)
    assert Counter(val.groups) == {"A/block0": 25, "A/block1": 1, "B/block0": 25, "B/block1": 5}
    assert val.groups == tuple(s.group for s in val)
    assert open_split(tmp_path, "eval").groups == tuple(f"C/block{k // 5}" for k in range(11))
    assert Counter(open_split(tmp_path, "train").groups) == {"B/block0": 25}


def test_blocks_when_names_interleave(tmp_path):
    """`A_1` and `A_1_0` belong to two videos and sort between each other's frames."""
    stems = [f"A_{k}" for k in range(6)] + [f"A_1_{k}" for k in range(6)]
    make_split(tmp_path, "eval", stems)
    data = open_split(tmp_path, "eval")
    blocks = dict(zip(data.ids, data.groups, strict=True))
    assert [blocks[f"A_{k}"] for k in range(6)] == ["A/block0"] * 5 + ["A/block1"]
    assert [blocks[f"A_1_{k}"] for k in range(6)] == ["A_1/block0"] * 5 + ["A_1/block1"]


def test_trainval_is_both_in_order(tmp_path):
    make_split(tmp_path, "train", ["A_1", "A_4", "B_1"])
    make_split(tmp_path, "val", ["A_2", "A_3"])
    data = open_split(tmp_path, "trainval")
    assert data.ids == ("A_1", "A_2", "A_3", "A_4", "B_1")
    assert [s.id for s in data] == list(data.ids)
    assert [s.image[0, 0, 0] for s in data] == [0, 0, 1, 1, 2]
    make_split(tmp_path, "val", ["A_4"])
    with pytest.raises(GstoVizError, match=r"A_4\.png is also in another split"):
        open_split(tmp_path, "trainval")


def test_pickles_for_worker_processes(tmp_path):
    make_split(tmp_path, "val", frames("A", 2))
    data = open_split(tmp_path, "val")
    again = pickle.loads(pickle.dumps(data))
    assert again.ids == data.ids
    assert np.array_equal(again[1].labels, data[1].labels)


def test_wrong_folders(tmp_path):
    tree = r"a CamVid folder looks like \{split\}/NAME\.jpg"
    with pytest.raises(GstoVizError, match="no split 'vall'; choose one of train, val, eval"):
        open_split(tmp_path, "vall")
    with pytest.raises(GstoVizError, match=r"no folder \S+nowhere; " + tree):
        open_split(tmp_path / "nowhere", "val")
    with pytest.raises(GstoVizError, match=r"no folder \S+val; " + tree):
        open_split(tmp_path, "val")
    (tmp_path / "val").mkdir()
    with pytest.raises(GstoVizError, match=r"no folder \S+valannot; " + tree):
        open_split(tmp_path, "val")
    (tmp_path / "valannot").mkdir()
    with pytest.raises(GstoVizError, match=r"no images in \S+val; " + tree):
        open_split(tmp_path, "val")


def test_image_without_label_map(tmp_path):
    make_split(tmp_path, "val", frames("A", 4))
    (tmp_path / "valannot" / "A_07002.png").unlink()
    with pytest.raises(
        GstoVizError, match=r"1 of 4 images have no label map, first \S+A_07002.png"
    ):
        open_split(tmp_path, "val")


def test_two_images_of_one_name(tmp_path):
    make_split(tmp_path, "val", frames("A", 2))
    (tmp_path / "val" / "A_07000.jpg").write_bytes(b"x")
    with pytest.raises(GstoVizError, match="same name but for the suffix"):
        open_split(tmp_path, "val")


def test_sizes_differ(tmp_path):
    make_split(tmp_path, "val", ["A_1"])
    write_png(tmp_path / "valannot" / "A_1.png", np.zeros((5, 6), np.uint8))
    with pytest.raises(GstoVizError, match=r"val/A_1.png is 6 x 4 .*annot/A_1.png is 6 x 5"):
        open_split(tmp_path, "val")[0]


def test_bad_label_and_bad_image_are_named(tmp_path):
    make_split(tmp_path, "val", ["A_1", "A_2"])
    data = open_split(tmp_path, "val")
    write_png(tmp_path / "valannot" / "A_1.png", np.full((4, 6), 200, np.uint8))
    with pytest.raises(GstoVizError, match=r"valannot/A_1.png holds label 200 \(24 pixels\)"):
        data[0]
    (tmp_path / "val" / "A_1.png").write_bytes(b"")
    with pytest.raises(GstoVizError, match=r"val/A_1.png is empty"):
        data[0]
    assert data[1].id == "A_2"


@pytest.fixture(scope="module")
def real():
    root = os.environ.get("GSTO_VIZ_CAMVID")
    if not root:
        pytest.skip("GSTO_VIZ_CAMVID does not name a CamVid folder")
    return Path(root)


def test_real_splits(real):
    assert [len(open_split(real, s)) for s in ("train", "val", "eval")] == [367, 101, 86]
    val, held_out = open_split(real, "val"), open_split(real, "eval")
    assert sorted(Counter(val.groups).values()) == [1, 25, 25, 25, 25]
    assert {g.split("/")[0] for g in held_out.groups} == {"Seq05VD"}
    assert not set(held_out.ids) & set(open_split(real, "trainval").ids)


def test_real_class_shares_of_val(real):
    """Shares of all pixels, in percent, counted independently from the released label files."""
    data = open_split(real, "val")
    counts = np.zeros(256, np.int64)
    for path in sorted((real / "valannot").glob("*.png")):
        counts += np.bincount(np.asarray(Image.open(path)).ravel(), minlength=256)
    seen = np.zeros(256, np.int64)
    for sample in data:
        assert sample.image.shape == (360, 480, 3)
        seen += np.bincount(sample.labels.ravel(), minlength=256)
    assert np.array_equal(seen[:11], counts[:11])
    assert seen[255] == counts[11]
    shares = [9.18, 25.96, 0.56, 28.95, 8.72, 16.34, 0.89, 3.08, 1.75, 0.65, 2.22]
    assert np.abs(100 * seen[:11] / seen.sum() - shares).max() < 0.01
