"""Annotated folders: images/ labels/ [instances/] classes.json."""

import json
import os
import pickle
import sys

import numpy as np
import pytest

from gsto_viz.data import CAMVID_CLASSES, DATA_SETS, load_data, write_png
from gsto_viz.errors import GstoVizError

open_split = DATA_SETS["folder"].open


def make_folder(root, stems=("b", "a"), instances=True, ignore=255):
    for k, stem in enumerate(sorted(stems)):
        write_png(root / "images" / f"{stem}.png", np.full((3, 5, 3), k, np.uint8))
        labels = np.full((3, 5), 8, np.uint16 if ignore > 255 else np.uint8)
        labels[0] = ignore
        write_png(root / "labels" / f"{stem}.png", labels)
        if instances:
            write_png(root / "instances" / f"{stem}.png", np.full((3, 5), 1000 + k, np.uint16))
    value = CAMVID_CLASSES.to_json() | {"ignore": ignore}
    (root / "classes.json").write_text(json.dumps(value))
    return root


@pytest.mark.parametrize("ignore", [255, 11, 40000])
def test_reads_everything(tmp_path, ignore):
    data = open_split(make_folder(tmp_path, ignore=ignore))
    assert data.name == f"folder:{tmp_path}"
    assert data.classes == CAMVID_CLASSES
    assert data.ids == ("a", "b")
    sample = data[1]
    assert (sample.image == 1).all()
    assert sample.labels.tolist() == [[255] * 5, [8] * 5, [8] * 5]
    assert sample.labels.dtype == np.uint8
    assert (sample.instances == 1001).all()
    assert sample.instances.dtype == np.int32
    assert sample.group is None
    assert [s.id for s in data] == ["a", "b"]
    assert pickle.loads(pickle.dumps(data))[0].id == "a"


def test_instances_may_be_absent(tmp_path):
    assert open_split(make_folder(tmp_path, instances=False))[0].instances is None


def test_splits_share_or_own_their_class_list(tmp_path):
    make_folder(tmp_path / "train", stems=("x",))
    make_folder(tmp_path / "val", stems=("y",))
    data = open_split(tmp_path, "val")
    assert data.ids == ("y",)
    assert data.name == f"folder:{tmp_path}:val"
    (tmp_path / "val" / "classes.json").rename(tmp_path / "classes.json")
    assert open_split(tmp_path, "val").classes == CAMVID_CLASSES
    with pytest.raises(GstoVizError, match=r"no folder \S+test; an annotated folder holds"):
        open_split(tmp_path, "test")


def test_missing_parts(tmp_path):
    with pytest.raises(
        GstoVizError, match=r"no folder \S+nowhere; an annotated folder holds images"
    ):
        open_split(tmp_path / "nowhere")
    with pytest.raises(GstoVizError, match=r"no file \S+classes\.json"):
        open_split(tmp_path)
    make_folder(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "elsewhere")
    with pytest.raises(GstoVizError, match=r"no folder \S+labels; an annotated folder holds"):
        open_split(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "labels")
    (tmp_path / "instances" / "b.png").unlink()
    with pytest.raises(GstoVizError, match=r"1 of 2 images have no instance map, first \S+b\.png"):
        open_split(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(GstoVizError, match="no images in"):
        open_split(tmp_path)


@pytest.mark.parametrize("part", ["labels", "instances"])
def test_sizes_differ(tmp_path, part):
    make_folder(tmp_path)
    write_png(tmp_path / part / "a.png", np.zeros((3, 4), np.uint8))
    data = open_split(tmp_path)
    with pytest.raises(GstoVizError, match=rf"images/a.png is 5 x 3 .*{part}/a.png is 4 x 3"):
        data[0]
    assert data[1].id == "b"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\xff", "is not UTF-8"),
        (b"[" * 200_000, "not valid JSON"),
        (b" " * (2**20 + 1), "larger than 1 MiB"),
        (b"[]", "must be an object"),
        (b'{"name": "x", "ignore": 255, "classes": [1]}', r"classes\[0\]"),
    ],
)
def test_broken_class_list(tmp_path, content, words):
    make_folder(tmp_path)
    (tmp_path / "classes.json").write_bytes(content)
    with pytest.raises(GstoVizError, match=r"classes\.json.*" + words):
        open_split(tmp_path)


def test_a_class_list_that_is_a_pipe_is_not_read(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "classes.json").unlink()
    (tmp_path / "classes.json").symlink_to("/dev/zero")
    with pytest.raises(GstoVizError, match=r"no file \S+classes\.json"):
        open_split(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_names_that_are_no_text_are_refused(tmp_path):
    make_folder(tmp_path / "a")
    os.close(os.open(os.fsencode(tmp_path) + b"/a/images/\xff.png", os.O_CREAT))
    with pytest.raises(GstoVizError, match=r"images holds '\\udcff\.png', a name that is not UTF"):
        open_split(tmp_path / "a")
    with pytest.raises(GstoVizError, match=r"'folder:/\\udcff' is not UTF-8"):
        load_data(os.fsdecode(b"folder:/\xff"))
