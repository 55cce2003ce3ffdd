"""ADE20K: a small tree in the layout of the benchmark's archive; label 0 is no class."""

import numpy as np
import pytest
from PIL import Image

from gsto_viz.data import DATA_SETS, load_data, shipped_classes, write_png
from gsto_viz.errors import GstoVizError

open_split = DATA_SETS["ade20k"].open

ADE20K_CLASSES = shipped_classes("ade20k")


def make_tree(root):
    for folder, prefix in (("training", "ADE_train"), ("validation", "ADE_val")):
        (root / "images" / folder).mkdir(parents=True)
        for k in (2, 1):
            stem = f"{prefix}_{k:08d}"
            picture = np.full((16, 10, 3), 100 + k, np.uint8)
            Image.fromarray(picture).save(root / "images" / folder / f"{stem}.jpg")
            values = np.minimum(np.arange(160), 150).astype(np.uint8).reshape(16, 10)
            write_png(root / "annotations" / folder / f"{stem}.png", values)
    (root / "objectInfo150.txt").write_text("Idx\tRatio\n")
    return root


@pytest.mark.parametrize("nested", [False, True])
def test_reads_labels_one_lower(tmp_path, nested):
    make_tree(tmp_path / "ADEChallengeData2016" if nested else tmp_path)
    data = load_data(f"ade20k:{tmp_path}")
    assert data.classes is ADE20K_CLASSES
    assert data.ids == ("ADE_val_00000001", "ADE_val_00000002")
    assert data.name == f"ade20k:{tmp_path}:val"
    flat = data[0].labels.ravel().tolist()
    assert flat[0] == 255
    assert flat[1:] == [min(k, 150) - 1 for k in range(1, 160)]
    assert load_data(f"ade20k:{tmp_path}", purpose="train").ids[0] == "ADE_train_00000001"


def test_classes():
    """Landmarks of the benchmark's own table: names at known places, 100 countable classes."""
    names = ADE20K_CLASSES.names
    assert len(names) == len(set(names)) == 150
    known = {0: "wall", 12: "person", 20: "car", 76: "boat", 89: "tv", 127: "bicycle", 149: "flag"}
    for index, name in known.items():
        assert names[index] == name
    assert sum(c.thing for c in ADE20K_CLASSES) == 100
    assert [c.id for c in ADE20K_CLASSES] == list(range(150))
    assert ADE20K_CLASSES.colors.shape == (150, 3)
    # The palette repeats one colour, that of road and skyscraper.
    assert len({c.color for c in ADE20K_CLASSES}) == 149


def test_messages(tmp_path):
    tree = r"; an ADE20K folder holds images/\{training,validation\}/NAME\.jpg and annotations/"
    with pytest.raises(GstoVizError, match=r"no folder \S+images" + tree):
        open_split(tmp_path)
    make_tree(tmp_path)
    with pytest.raises(GstoVizError, match="ADE20K has no split 'test'; choose one of train, val"):
        open_split(tmp_path, "test")
    path = tmp_path / "annotations" / "validation" / "ADE_val_00000002.png"
    write_png(path, np.full((16, 10), 151, np.uint8))
    with pytest.raises(GstoVizError, match=r"2\.png holds label 151 .* the labels 0 to 150"):
        open_split(tmp_path)[1]
    path.unlink()
    with pytest.raises(GstoVizError, match=r"1 of 2 images have no label map, first \S+2\.jpg"):
        open_split(tmp_path)
    (tmp_path / "annotations").rename(tmp_path / "masks")
    with pytest.raises(GstoVizError, match=r"no folder \S+annotations" + tree):
        open_split(tmp_path)
