"""Pascal-Context: a small VOC2010 folder; 59 classes without and 60 with the background."""

import numpy as np
import pytest
from PIL import Image

from gsto_viz.data import DATA_SETS, load_data, shipped_classes, write_png
from gsto_viz.errors import GstoVizError

open_split = DATA_SETS["pascal_context"].open

PASCAL_CONTEXT_59_CLASSES = shipped_classes("pascal_context")
PASCAL_CONTEXT_60_CLASSES = shipped_classes("pascal_context60")
THINGS = (
    "aeroplane", "bag", "bed", "bench", "bicycle", "bird", "boat", "book", "bottle", "bus",
    "cabinet", "car", "cat", "chair", "computer", "cow", "cup", "dog", "door", "flower",
    "horse", "keyboard", "light", "motorbike", "mouse", "person", "plate", "pottedplant",
    "sheep", "sign", "sofa", "table", "train", "truck", "tvmonitor", "window",
)  # fmt: skip

STEMS = ("2008_000002", "2008_000003", "2010_000001")


def make_tree(root):
    (root / "JPEGImages").mkdir(parents=True)
    lists = root / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True)
    for stem in (*STEMS, "2009_unlisted"):
        Image.fromarray(np.zeros((6, 10, 3), np.uint8)).save(root / "JPEGImages" / f"{stem}.jpg")
        if stem in STEMS:
            values = np.arange(60, dtype=np.uint8).reshape(6, 10)
            write_png(root / "SegmentationClassContext" / f"{stem}.png", values)
    (lists / "train.txt").write_text(f"{STEMS[0]}\n")
    (lists / "val.txt").write_text(f"{STEMS[2]}\n{STEMS[1]}\n")
    return root


@pytest.mark.parametrize("above", ["", "VOC2010", "VOCdevkit/VOC2010"])
def test_59_and_60_classes(tmp_path, above):
    make_tree(tmp_path / above)
    without, background = (
        load_data(f"{kind}:{tmp_path}") for kind in ("pascal_context", "pascal_context60")
    )
    assert without.ids == background.ids == STEMS[1:]
    assert without.name == f"pascal_context:{tmp_path}:val"
    assert background.name == f"pascal_context60:{tmp_path}:val"
    assert load_data(background.name, purpose="train").classes is PASCAL_CONTEXT_60_CLASSES
    assert without[0].labels.ravel().tolist() == [255, *range(59)]
    assert background[0].labels.ravel().tolist() == list(range(60))
    assert load_data(f"pascal_context:{tmp_path}", purpose="train").ids == STEMS[:1]


def test_classes():
    without, background = PASCAL_CONTEXT_59_CLASSES, PASCAL_CONTEXT_60_CLASSES
    assert (len(without), len(background)) == (59, 60)
    assert background.names == ("background", *without.names)
    assert list(without.names) == sorted(without.names)
    assert [c.color for c in background][1:] == [c.color for c in without]
    assert {c.name for c in without if c.thing} == set(THINGS)
    assert without.names[36] == "person"


def voc_color(number):
    """Bits 0, 3, 6 of the number are the highest of red, 1, 4, 7 of green and 2, 5 of blue."""
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return tuple(channels)


def test_voc_colors_are_those_of_the_kit():
    """The first colours of the VOC development kit, as printed in its annotation guide."""
    kit = [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128),
        (0, 128, 128), (128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0),
        (64, 0, 128), (192, 0, 128), (64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0),
        (0, 192, 0), (128, 192, 0), (0, 64, 128),
    ]  # fmt: skip
    assert [voc_color(k) for k in range(21)] == kit
    assert voc_color(255) == (224, 224, 192)
    colors = [c.color for c in PASCAL_CONTEXT_60_CLASSES]
    assert colors == [voc_color(k) for k in range(60)]


def test_messages(tmp_path):
    tree = r"; a Pascal-Context folder is VOC2010 with JPEGImages/NAME\.jpg, Segm"
    with pytest.raises(GstoVizError, match=r"no folder \S+JPEGImages" + tree):
        open_split(tmp_path)
    make_tree(tmp_path)
    with pytest.raises(GstoVizError, match="Pascal-Context has no split 'test'; choose one of"):
        open_split(tmp_path, "test")
    path = tmp_path / "SegmentationClassContext" / f"{STEMS[2]}.png"
    write_png(path, np.full((6, 10), 60, np.uint8))
    for kind in ("pascal_context", "pascal_context60"):
        with pytest.raises(GstoVizError, match=r"holds label 60 .* outside the labels 0 to 59"):
            DATA_SETS[kind].open(tmp_path)[1]
    path.unlink()
    with pytest.raises(GstoVizError, match=rf"1 of 2 images have no label map, \S* ?\S+{STEMS[2]}"):
        open_split(tmp_path)
    lists = tmp_path / "ImageSets" / "SegmentationContext"
    (lists / "val.txt").write_text("2008_000003\n2008_999999\n")
    with pytest.raises(
        GstoVizError, match=r"val\.txt names 1 images that are not in \S+, first '2008_999999'"
    ):
        open_split(tmp_path)
    (lists / "val.txt").write_text("\n")
    with pytest.raises(GstoVizError, match=r"val\.txt is empty; write one image name a line"):
        open_split(tmp_path)
    (lists / "val.txt").unlink()
    with pytest.raises(GstoVizError, match=r"no file \S+SegmentationContext/val\.txt" + tree):
        open_split(tmp_path)
