"""Annotation of another convention is refused; instances are cut by class."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gsto_viz.cli import main
from gsto_viz.data.base import cut_by_class


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


PLACES = {
    "ade20k": ("images/validation/a.jpg", "annotations/validation/a.png"),
    "pascal_context": ("JPEGImages/a.jpg", "SegmentationClassContext/a.png"),
    "pascal_context60": ("JPEGImages/a.jpg", "SegmentationClassContext/a.png"),
    "cityscapes": (
        "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png",
        "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png",
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_255_where_it_never_occurs_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image, labels = (tmp_path / place for place in PLACES[name])
    write(image, np.zeros((64, 64, 3), np.uint8))
    write(labels, np.repeat(np.array([0, 18, 255, 7], np.uint8), 16)[:, None].repeat(64, 1))
    if name.startswith("pascal"):
        (tmp_path / "ImageSets" / "SegmentationContext").mkdir(parents=True)
        (tmp_path / "ImageSets" / "SegmentationContext" / "val.txt").write_text("a\n")
    assert main(["check", f"{name}:{tmp_path}:val"]) == 2
    error = capsys.readouterr().err
    assert "holds 255, which never occurs in" in error
    assert ("train ids (0 to 18 and 255)" if name == "cityscapes" else "reduced already") in error
    words = ["evaluate", "scenes-hrnetv2-w18-small-v1", "--data", f"{name}:{tmp_path}:val"]
    assert main([*words, "--accept", "numbering", "--device", "cpu"]) == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2, 255])), min_size=1))
def test_each_part_of_an_instance_lies_in_one_class(pixels: list[tuple[int, int]]) -> None:
    instances = np.array([[number for number, _ in pixels]], np.int32)
    labels = np.array([[label for _, label in pixels]], np.uint8)
    cut, count = cut_by_class(labels, instances)
    classes = {n: {c for m, c in pixels if m == n and c != 255} for n in (1, 2, 3)}
    assert count == sum(len(one) > 1 for one in classes.values())
    seen = {}
    for (number, label), new in zip(pixels, cut[0].tolist(), strict=True):
        assert (new == 0) == (number == 0)
        if number and label != 255:
            assert seen.setdefault(new, (number, label)) == (number, label)
    assert len(seen) == sum(len(one) for one in classes.values())
    for number, found in classes.items():
        sizes = {c: pixels.count((number, c)) for c in found}
        kept = [label for (_, label), new in zip(pixels, cut[0], strict=True) if new == number]
        if sizes:
            assert set(kept) - {255} == {min(sizes, key=lambda c: (-sizes[c], c))}
