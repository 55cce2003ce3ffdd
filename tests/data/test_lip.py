"""LIP: a small tree in the layout of its archives; left and right in mirror images."""

import numpy as np
import pytest
from PIL import Image

from gsto_viz.data import DATA_SETS, Augmentation, load_data, shipped_classes, write_png
from gsto_viz.errors import GstoVizError

open_split = DATA_SETS["lip"].open

LIP_CLASSES = shipped_classes("lip")


def make_tree(root, inner=False, stems=("10_1", "9_2")):
    images, labels = root / "TrainVal_images", root / "TrainVal_parsing_annotations"
    if inner:
        images, labels = images / images.name, labels / labels.name
    for split in ("train", "val"):
        (images / f"{split}_images").mkdir(parents=True)
        for k, stem in enumerate(stems):
            picture = np.full((20 + k, 30, 3), 10 * k, np.uint8)
            Image.fromarray(picture).save(images / f"{split}_images" / f"{stem}.jpg")
            values = np.arange(20 + k, dtype=np.uint8)[:, None] % 20
            write_png(
                labels / f"{split}_segmentations" / f"{stem}.png", np.repeat(values, 30, axis=1)
            )
    return root


@pytest.mark.parametrize("inner", [False, True])
def test_reads_both_ways_of_unpacking(tmp_path, inner):
    data = load_data(f"lip:{make_tree(tmp_path, inner)}")
    assert data.classes is LIP_CLASSES
    assert data.name == f"lip:{tmp_path}:val"
    assert data.ids == ("10_1", "9_2")
    assert [s.labels.shape for s in data] == [(20, 30), (21, 30)]
    assert data[0].labels[:, 0].tolist() == list(range(20))
    assert (data[1].instances, data[1].group) == (None, None)
    assert load_data(f"lip:{tmp_path}", purpose="train").name.endswith(":train")


def test_classes():
    names = LIP_CLASSES.names
    assert len(names) == 20
    assert names[0] == "background"
    pairs = {(names[a], names[b]) for a, b in LIP_CLASSES.flip_pairs}
    assert pairs == {
        ("left-arm", "right-arm"), ("left-leg", "right-leg"), ("left-shoe", "right-shoe"),
    }  # fmt: skip
    # Whoever is called left has a partner that is called right.
    lefts = [n for n in names if n.startswith("left-")]
    assert {a for a, _ in pairs} == set(lefts)


def test_a_mirror_image_swaps_arms_legs_and_shoes(tmp_path):
    """A mirrored person's left arm is a right arm, where the left arm was seen mirrored."""
    sample = open_split(make_tree(tmp_path), "train")[0]
    labels = sample.labels.copy()
    labels[:, 7] = 14
    augment = Augmentation(labels.shape, (1.0, 1.0), flip=1.0, flip_pairs=LIP_CLASSES.flip_pairs)
    _, mirrored = augment(sample.image, labels, np.random.default_rng(0))
    partner = {14: 15, 15: 14, 16: 17, 17: 16, 18: 19, 19: 18}
    for y in range(20):
        for x in range(30):
            before = int(labels[y, 29 - x])
            assert mirrored[y, x] == partner.get(before, before)


def test_messages(tmp_path):
    tree = r"; a LIP folder holds TrainVal_images/\{train,val\}_images/NAME\.jpg and "
    with pytest.raises(GstoVizError, match=r"no folder \S+TrainVal_images" + tree):
        open_split(tmp_path)
    make_tree(tmp_path)
    with pytest.raises(GstoVizError, match="LIP has no split 'test'; choose one of train, val"):
        open_split(tmp_path, "test")
    val = tmp_path / "TrainVal_parsing_annotations" / "val_segmentations"
    write_png(val / "9_2.png", np.full((21, 30), 20, np.uint8))
    with pytest.raises(GstoVizError, match=r"9_2\.png holds label 20 \(630 pixels\), outside the"):
        open_split(tmp_path)[1]
    write_png(val / "9_2.png", np.full((20, 30), 2, np.uint8))
    with pytest.raises(GstoVizError, match=r"9_2\.jpg is 30 x 21 pixels but \S+ is 30 x 20"):
        open_split(tmp_path)[1]
    (val / "9_2.png").unlink()
    with pytest.raises(GstoVizError, match=r"1 of 2 images have no label map, first \S+9_2\.jpg"):
        open_split(tmp_path)
    val.rename(val.with_name("elsewhere"))
    with pytest.raises(GstoVizError, match=r"no folder \S+val_segmentations" + tree):
        open_split(tmp_path)
    for path in (tmp_path / "TrainVal_images" / "train_images").iterdir():
        path.unlink()
    with pytest.raises(GstoVizError, match=r"no images in \S+train_images" + tree):
        open_split(tmp_path, "train")
