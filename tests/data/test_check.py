"""Checking a whole data set: planted faults are found, each once, and named."""

import numpy as np
import pytest

from gsto_viz.data import CAMVID_CLASSES, DATA_SETS, check_dataset, raise_problems, write_png
from gsto_viz.errors import GstoVizError
from gsto_viz.types import Sample

open_split = DATA_SETS["camvid"].open


def make_camvid(root, count=12):
    for k in range(count):
        write_png(root / "val" / f"A_{k:02d}.png", np.full((6, 8, 3), k, np.uint8))
        write_png(root / "valannot" / f"A_{k:02d}.png", np.full((6, 8), k % 12, np.uint8))
    return root


@pytest.mark.parametrize("threads", [1, 4, None])
def test_planted_faults_are_all_found_in_order(tmp_path, threads):
    data = open_split(make_camvid(tmp_path))
    assert check_dataset(data, True, threads=threads) == ()
    raise_problems(data, ())
    (tmp_path / "val" / "A_02.png").write_bytes(b"")
    write_png(tmp_path / "valannot" / "A_05.png", np.full((6, 8), 40, np.uint8))
    write_png(tmp_path / "valannot" / "A_07.png", np.zeros((6, 9), np.uint8))
    (tmp_path / "valannot" / "A_11.png").unlink()
    found = check_dataset(data, True, threads=threads)
    assert [(p.index, p.id) for p in found] == [(2, "A_02"), (5, "A_05"), (7, "A_07"), (11, "A_11")]
    for problem, words in zip(
        found,
        ("A_02.png is empty", "holds label 40 (48 pixels)", "is 9 x 6", "A_11.png does not exist"),
        strict=True,
    ):
        assert words in problem.message
    with pytest.raises(
        GstoVizError, match=r"^4 of 12 samples of camvid:\S+:val cannot be used: "
    ) as e:
        raise_problems(data, found)
    assert "; and 1 more" in str(e.value)
    assert "\n" not in str(e.value)
    with pytest.raises(GstoVizError, match=r"^1 of 12 samples .*A_02\.png is empty"):
        raise_problems(data, found[:1])


class Odd:
    """Samples in memory, each wrong in another way."""

    name = "odd"
    classes = CAMVID_CLASSES
    ids = ("fine", "bare", "small", "stray", "instances", "shared", "shared too")

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        image, labels = np.zeros((4, 6, 3), np.uint8), np.full((4, 6), 10, np.uint8)
        labels[0] = 255
        name = self.ids[index]
        if name == "bare":
            return Sample(name, image)
        if name == "small":
            return Sample(name, image, labels[:3])
        if name == "stray":
            labels[1, 2], labels[2, 2] = 200, 11
        if name.startswith("shared"):
            raise GstoVizError("the list is unreadable; copy it again")
        instances = np.zeros((6, 4), np.int32) if name == "instances" else None
        return Sample(name, image, labels, instances)


def test_samples_that_no_file_vouches_for():
    found = check_dataset(Odd(), quiet=True)
    assert [p.message for p in found] == [
        "bare has no labels; annotate it or leave it out",
        "small: the image is 4x6 and its labels are 3x6; make them equal",
        "stray has label 11 and the class list ends at 10; correct the labels or use 255 for no "
        "class",
        "instances: the image is 4x6 and its instances are 6x4; make them equal",
        "the list is unreadable; copy it again",
    ]
    assert found[-1].id == "shared"


def test_a_bug_is_not_taken_for_a_bad_image():
    class Broken(Odd):
        def __getitem__(self, index):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_dataset(Broken(), quiet=True)
