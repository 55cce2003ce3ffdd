"""Label maps from the Detail API's annotation: masks packed here by the format's own rules."""

import json

import numpy as np
import pytest
from coco_text import packed, runs_of
from PIL import Image

from gsto_viz.data import DATA_SETS, shipped_classes, write_pascal_context_masks
from gsto_viz.data.loaders import CATEGORIES
from gsto_viz.data.masks import decode_mask, unpack_counts
from gsto_viz.errors import GstoVizError

open_split = DATA_SETS["pascal_context"].open


def test_a_mask_packed_by_the_coco_api_itself():
    """``pycocotools.mask.encode`` of a 4 x 3 mask with rows 1, 2 of columns 1, 2 set."""
    mask = np.zeros((4, 3), bool)
    mask[1:3, 1:3] = True
    assert runs_of(mask) == [5, 2, 2, 2, 1]
    assert unpack_counts("5220O").tolist() == [5, 2, 2, 2, 1]
    assert np.array_equal(decode_mask({"size": [4, 3], "counts": "5220O"}), mask)


@pytest.mark.parametrize("seed", range(8))
def test_masks_there_and_back(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(1, 90, 2))
    mask = rng.random((height, width)) < (0.02, 0.5, 0.98, 0.0)[seed % 4]
    if seed > 3:  # long runs: numbers of several characters, differences of both signs
        mask = np.repeat(mask, 70, axis=0)
    lengths = runs_of(mask)
    assert unpack_counts(packed(lengths)).tolist() == lengths
    for counts in (packed(lengths), lengths):
        assert np.array_equal(decode_mask({"size": list(mask.shape), "counts": counts}), mask)


def make_annotations(root):
    """Three images in stripes of categories; one more category than the 59 counts as background."""
    (root / "JPEGImages").mkdir(parents=True)
    images, annotations, expected = [], [], {}
    for k, phase in enumerate(("val", "train", "val", "test")):
        stem = f"2010_00000{k}"
        Image.fromarray(np.zeros((7, 62, 3), np.uint8)).save(root / "JPEGImages" / f"{stem}.jpg")
        images.append(
            {"image_id": 40 + k, "file_name": f"{stem}.jpg", "phase": phase, "height": 7}
            | {"width": 62}
        )
        for column, category in enumerate((*CATEGORIES[1:], 1)):
            mask = np.zeros((7, 62), bool)
            mask[k:, column + 1] = True
            segmentation = {"size": [7, 62], "counts": packed(runs_of(mask))}
            annotations.append(
                {"image_id": 40 + k, "category_id": category, "segmentation": segmentation}
            )
        labels = np.zeros((7, 62), int)
        labels[k:, 1:60] = np.arange(1, 60)
        expected[stem] = labels
    path = root / "trainval_merged.json"
    path.write_text(json.dumps({"images": images, "annos_segmentation": annotations}))
    return path, expected


def test_writes_what_the_data_set_reads(tmp_path):
    path, expected = make_annotations(tmp_path)
    assert write_pascal_context_masks(tmp_path, path, quiet=True) == {"train": 1, "val": 2}
    data = DATA_SETS["pascal_context60"].open(tmp_path, "val")
    assert data.ids == ("2010_000000", "2010_000002")
    for sample in data:
        assert np.array_equal(sample.labels, expected[sample.id])
    assert open_split(tmp_path, "train").ids == ("2010_000001",)
    assert len(CATEGORIES) == len(shipped_classes("pascal_context60")) == 60
    assert list(CATEGORIES) == sorted(CATEGORIES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not an annotation file of the Detail API"),
        ('{"images": []}', "is not an annotation file of the Detail API .*annos_segmentation"),
    ],
)
def test_wrong_files(tmp_path, content, words):
    path, _ = make_annotations(tmp_path)
    path.write_text(content)
    with pytest.raises(GstoVizError, match=r"trainval_merged\.json " + words):
        write_pascal_context_masks(tmp_path, path, quiet=True)
    assert not (tmp_path / "ImageSets").exists()


def test_a_mask_that_does_not_fill_its_size(tmp_path):
    path, _ = make_annotations(tmp_path)
    value = json.loads(path.read_text())
    value["annos_segmentation"][0]["segmentation"]["counts"] = "5220O"
    path.write_text(json.dumps(value))
    with pytest.raises(GstoVizError, match="a mask of 7 x 62 pixels has runs of 12"):
        write_pascal_context_masks(tmp_path, path, quiet=True)
    with pytest.raises(GstoVizError, match=r"cannot read the annotations \S+nothing\.json: No"):
        write_pascal_context_masks(tmp_path, tmp_path / "nothing.json")
    with pytest.raises(GstoVizError, match=r"no folder \S+JPEGImages; give the folder VOC2010"):
        write_pascal_context_masks(tmp_path / "JPEGImages", path)
