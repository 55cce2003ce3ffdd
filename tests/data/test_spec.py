"""SPECs and sizes: what they name, and what is said about wrong ones."""

import importlib
import os
import pickle
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from gsto_viz.cli import main
from gsto_viz.data import (
    CAMVID_CLASSES,
    DATA_SETS,
    ResizedDataset,
    is_held_out,
    load_data,
    parse_size,
    portable_name,
    resize_image,
    resize_map,
    spec_table,
    weights_notice,
    write_png,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.files import write_json
from gsto_viz.types import ClassInfo, ClassList, Sample

TWO = ClassList("two", (ClassInfo(0, "a", (1, 2, 3), False), ClassInfo(1, "b", (4, 5, 6), True)))


def make_camvid(root):
    for split in ("train", "val", "eval"):
        write_png(root / split / f"{split}_1.png", np.zeros((4, 6, 3), np.uint8))
        write_png(root / f"{split}annot" / f"{split}_1.png", np.zeros((4, 6), np.uint8))
    return root


def make_folder(root, stem="a"):
    write_png(root / "images" / f"{stem}.png", np.zeros((4, 6, 3), np.uint8))
    write_png(root / "labels" / f"{stem}.png", np.zeros((4, 6), np.uint8))
    write_json(root / "classes.json", TWO.to_json())
    return root


def test_camvid_split_by_word_or_purpose(tmp_path):
    make_camvid(tmp_path)
    assert load_data(f"camvid:{tmp_path}:eval").ids == ("eval_1",)
    assert load_data(f"camvid:{tmp_path}:eval", purpose="train").ids == ("eval_1",)
    assert load_data(f"camvid:{tmp_path}:trainval").ids == ("train_1", "val_1")
    assert load_data(f"camvid:{tmp_path}").ids == ("val_1",)
    assert load_data(f"camvid:{tmp_path}", purpose="train").ids == ("train_1",)
    assert load_data(f"camvid:{tmp_path}").classes is CAMVID_CLASSES


def test_name_makes_the_same_data_set_again(tmp_path):
    make_camvid(tmp_path / "c")
    make_folder(tmp_path / "f")
    for spec in (f"camvid:{tmp_path}/c", f"folder:{tmp_path}/f"):
        data = load_data(spec)
        assert load_data(data.name, purpose="train").ids == data.ids


@pytest.mark.parametrize("odd", ["C:", "a:b", "a:val", "with space", "a,b=c"])
def test_paths_with_colons(tmp_path, odd):
    make_camvid(tmp_path / odd / "camvid")
    assert load_data(f"camvid:{tmp_path / odd / 'camvid'}").ids == ("val_1",)
    assert load_data(f"camvid:{tmp_path / odd / 'camvid'}:eval").ids == ("eval_1",)
    make_folder(tmp_path / odd / "x:y")
    assert load_data(f"folder:{tmp_path / odd / 'x:y'}").ids == ("a",)


def test_relative_path_that_is_a_split_name(tmp_path, monkeypatch):
    make_folder(tmp_path / "train" / "val")
    monkeypatch.chdir(tmp_path)
    assert load_data("folder:train/val").ids == ("a",)
    assert load_data("folder:train:val").ids == ("a",)


def test_home_folder(tmp_path, monkeypatch):
    make_camvid(tmp_path / "camvid")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_data("camvid:~/camvid:eval").ids == ("eval_1",)
    with pytest.raises(GstoVizError, match="no folder ~nobody-of-that-name"):
        load_data("camvid:~nobody-of-that-name/camvid")


def test_folder_with_and_without_splits(tmp_path):
    make_folder(tmp_path / "flat")
    for purpose in ("train", "eval"):
        assert load_data(f"folder:{tmp_path}/flat", purpose=purpose).ids == ("a",)
    make_folder(tmp_path / "deep" / "train", "t")
    make_folder(tmp_path / "deep" / "val", "v")
    assert load_data(f"folder:{tmp_path}/deep", purpose="train").ids == ("t",)
    assert load_data(f"folder:{tmp_path}/deep").ids == ("v",)
    assert load_data(f"folder:{tmp_path}/deep:train").ids == ("t",)
    assert load_data(f"folder:{tmp_path}/deep:train").classes == TWO


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("camvd:x", "unknown data set 'camvd' in 'camvd:x'; did you mean 'camvid'"),
        ("Scenes", "did you mean 'scenes'"),
        ("cityscape:x", "did you mean 'cityscapes'"),
        ("pascalcontext:x", "did you mean 'pascal_context"),
        ("", "unknown data set ''"),
        ("zzz", r"unknown data set 'zzz' in 'zzz'; write one of scenes\["),
        ("camvid", "'camvid' names no folder"),
        ("camvid:", "'camvid:' names no folder"),
        ("camvid::val", "names no folder"),
        ("camvid:/no/such/place", "no folder /no/such/place"),
        ("folder:/no/such/place:val", "no folder /no/such/place"),
        ("scenes:cuont=3", "unknown setting 'cuont=3' of scenes; did you mean 'count'"),
        ("scenes:count", "unknown setting 'count' of scenes"),
        ("scenes:count=3,,seed=1", "unknown setting ''"),
        ("scenes:count=3,count=4", "'count' of scenes is given twice"),
        ("scenes:count=0", "count=0 .* whole number from 1"),
        ("scenes:count=1e3", "count=1e3"),
        ("scenes:count=-3", "count=-3"),
        ("scenes:seed=-1", "seed=-1 .* from 0 to 999999999"),
        ("scenes:seed=1000000000", "seed=1000000000"),
        ("scenes:count=1000001", "count=1000001 .* from 1 to 1000000"),
        ("scenes:decorrelated=2", "decorrelated=2 .* from 0 to 1"),
        ("scenes:decorrelated=yes", "decorrelated=yes .* from 0 to 1"),
        ("scenes:decorrelated", "unknown setting 'decorrelated' of scenes"),
        ("scenes:decorelated=1", "did you mean 'decorrelated'"),
        ("scenes:decorrelated=1,decorrelated=1", "'decorrelated' of scenes is given twice"),
        ("scenes:size=256", "'256' is not a size"),
        ("scenes:size=16x512", "size 16x512 is out of range"),
    ],
)
def test_wrong_specs(spec, words):
    with pytest.raises(GstoVizError, match=words):
        load_data(spec)


@pytest.mark.parametrize(
    ("kind", "split"),
    [(kind, split) for kind, row in DATA_SETS.items() for split in row.splits],
)
def test_every_split_of_every_data_set_is_understood(kind, split):
    """Without the data the answer is about the folder, never about the words."""
    with pytest.raises(GstoVizError, match=r"^no folder /no/such/place"):
        load_data(f"{kind}:/no/such/place:{split}")
    with pytest.raises(GstoVizError, match=rf"'{kind}::{split}' names no folder; write one of"):
        load_data(f"{kind}::{split}")


def test_evaluation_seeds_are_refused_for_training():
    spec = "scenes:count=1,seed=1000000,size=64x96"
    assert len(load_data(spec)) == 1
    with pytest.raises(GstoVizError, match="1000000"):
        load_data(spec, purpose="train")


def test_misspelt_split(tmp_path):
    make_camvid(tmp_path)
    with pytest.raises(GstoVizError, match=r"unknown split 'evl' .* did you mean 'eval'"):
        load_data(f"camvid:{tmp_path}:evl")


@pytest.mark.parametrize(
    ("text", "size"), [("256x512", (256, 512)), (" 32X8192 ", (32, 8192)), ("0360x480", (360, 480))]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "256",
        "256x",
        "256x512x3",
        "-256x512",
        "256.0x512",
        "\u0662\u0665\u0666x512",
        "31x64",
        "64x8193",
    ],
)
def test_wrong_sizes(text):
    with pytest.raises(GstoVizError, match=r"is not a size; write HEIGHTxWIDTH|out of range"):
        parse_size(text)


class Planted:
    """A data set in memory: image k is a ramp, its maps are random."""

    name = "planted"
    classes = TWO
    ids = ("p0", "p1")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        x = np.linspace(0, 240, 48)
        image = np.broadcast_to(x[None, :, None], (40, 48, 3)).astype(np.uint8)
        labels = rng.integers(0, 2, (40, 48)).astype(np.uint8)
        instances = rng.integers(0, 70000, (40, 48)).astype(np.int32)
        whole = Sample(self.ids[index], image, labels, instances, group="g")
        return whole if index == 0 else Sample(self.ids[index], image)


def nearest_by_loop(array, size):
    out = np.empty(size, array.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            y = (i + 0.5) * array.shape[0] / size[0]
            x = (j + 0.5) * array.shape[1] / size[1]
            out[i, j] = array[int(np.floor(y + 1e-9)), int(np.floor(x + 1e-9))]
    return out


@pytest.mark.parametrize("size", [(32, 32), (80, 96), (37, 61), (120, 33), (40, 48)])
def test_resized_samples(size):
    base = Planted()
    data = ResizedDataset(base, size)
    assert (data.name, data.classes, data.ids, len(data)) == ("planted", TWO, base.ids, 2)
    sample, original = data[0], base[0]
    assert sample.image.shape == (*size, 3)
    assert sample.image.dtype == np.uint8
    assert np.array_equal(sample.labels, nearest_by_loop(original.labels, size))
    assert np.array_equal(sample.instances, nearest_by_loop(original.instances, size))
    assert (sample.labels.dtype, sample.instances.dtype) == (np.uint8, np.int32)
    assert (sample.id, sample.group) == ("p0", "g")
    # A ramp stays a ramp: value at the centre of new column j, away from the borders.
    x = (np.arange(size[1]) + 0.5) * 48 / size[1] - 0.5
    inside = (x > 1) & (x < 46)
    ramp = x * 240 / 47
    assert np.abs(sample.image[0, inside, 0] - ramp[inside]).max() <= 2
    assert data[1].labels is None
    assert data[1].instances is None


def test_halving_averages_blocks_and_picks_a_member():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    blocks = image.reshape(32, 2, 32, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(resize_image(image, (32, 32)) - blocks).max() <= 0.5
    labels = rng.integers(0, 2, (64, 64), dtype=np.uint8)
    assert np.array_equal(resize_map(labels, (32, 32)), labels[1::2, 1::2])


def test_resizing_is_the_same_with_any_number_of_threads():
    image = np.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    before = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 4):
            cv2.setNumThreads(count)
            results.append((resize_image(image, (256, 320)), resize_image(image, (512, 640))))
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


def test_load_data_resizes(tmp_path):
    make_camvid(tmp_path)
    data = load_data(f"camvid:{tmp_path}", size=(32, 64))
    assert data.name == f"camvid:{tmp_path}:val"
    assert data[0].image.shape == (32, 64, 3)
    assert data[0].group == "val/block0"
    assert pickle.loads(pickle.dumps(data))[0].labels.shape == (32, 64)
    with pytest.raises(GstoVizError, match="out of range"):
        load_data(f"camvid:{tmp_path}", size=(16, 64))


def test_scenes_for_training_and_the_rest_never_meet():
    spec = "scenes:count=2,seed=3,size=64x96"
    evaluation, training = load_data(spec), load_data(spec, purpose="train")
    assert len(evaluation) == len(training) == 2
    assert evaluation[0].image.shape == (64, 96, 3)
    assert not np.array_equal(evaluation[0].image, training[0].image)
    assert not set(evaluation.ids) & set(training.ids)
    assert len(load_data("scenes")) == 64


@pytest.mark.parametrize("purpose", ["train", "eval"])
def test_scenes_say_in_name_and_ids_whether_they_are_decorrelated(purpose):
    spec = "scenes:count=2,seed=3,size=64x96"
    ordinary = load_data(spec, purpose=purpose)
    other = load_data(f"{spec},decorrelated=1", purpose=purpose)
    assert ordinary.name == load_data(f"{spec},decorrelated=0", purpose=purpose).name == spec
    assert other.name == f"{spec},decorrelated=1"
    again = load_data(other.name, purpose=purpose)
    assert (again.name, again.ids) == (other.name, other.ids)
    assert np.array_equal(again[1].image, other[1].image)
    assert not np.array_equal(ordinary[1].image, other[1].image)
    assert other[1].id == other.ids[1]
    assert not set(ordinary.ids) & set(other.ids)


def test_decorrelated_scenes_for_training_and_the_rest_never_meet():
    spec = "scenes:count=2,seed=3,size=64x96,decorrelated=1"
    evaluation, training = load_data(spec), load_data(spec, purpose="train")
    assert not set(evaluation.ids) & set(training.ids)
    assert not np.array_equal(evaluation[0].labels, training[0].labels)
    with pytest.raises(GstoVizError, match="1000000"):
        load_data("scenes:seed=1000000,decorrelated=1", purpose="train")


def test_data_room_is_light():
    """Reading photographs needs neither torch nor the generator."""
    code = (
        "import sys, gsto_viz.data; "
        "print([m for m in ('torch', 'gsto_viz.data.scenes', 'pandas') if m in sys.modules])"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


TOYS = """
from pathlib import Path

from gsto_viz.data import DATA_SETS, DataSet


def find(row, root, split, purpose):
    row.check_folders(root / split, root / "masks")
    return row.labelled(row.images_in(root / split), root / "masks")


DATA_SETS["toys"] = DataSet(
    name="toys",
    title="Toys",
    splits=("train", "val", "attic"),
    tree="a Toys folder holds SPLIT/NAME.png and masks/NAME.png",
    find=find,
    classes=Path(__file__).with_name("toys.json"),
    licence="free for children",
    notice="the weights are for children only",
    held_out=("attic",),
)
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A new data set: one function and one row, in a module of its own."""
    (tmp_path / "toys_of_a_test.py").write_text(TOYS)
    write_json(tmp_path / "toys.json", TWO.to_json())
    for split in ("train", "val", "attic"):
        write_png(tmp_path / split / f"{split}_1.png", np.full((4, 6, 3), 9, np.uint8))
        write_png(tmp_path / "masks" / f"{split}_1.png", np.full((4, 6), 1, np.uint8))
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(DATA_SETS)
    importlib.import_module("toys_of_a_test")
    yield tmp_path
    DATA_SETS.clear()
    DATA_SETS.update(before)
    del sys.modules["toys_of_a_test"]


def test_a_row_makes_a_data_set(toys):
    assert load_data(f"toys:{toys}").ids == ("val_1",)
    assert load_data(f"toys:{toys}", purpose="train").ids == ("train_1",)
    data = load_data(f"toys:{toys}:attic")
    assert (data.name, data.classes) == (f"toys:{toys}:attic", TWO)
    assert (data[0].image == 9).all()
    assert (data[0].labels == 1).all()
    write_png(toys / "masks" / "attic_1.png", np.full((4, 6), 2, np.uint8))
    with pytest.raises(
        GstoVizError, match=r"holds label 2 \(24 pixels\), outside the classes 0 to 1"
    ):
        data[0]
    with pytest.raises(GstoVizError, match=r"^no folder \S+x/val; a Toys folder holds SPLIT/NAME"):
        load_data(f"toys:{toys}/x")


def test_a_row_is_said_wherever_data_sets_are(toys, capsys):
    with pytest.raises(GstoVizError, match=r"did you mean 'toys'\? write one of scenes.*, toys$"):
        load_data("toy:x")
    with pytest.raises(
        GstoVizError, match=r"unknown split 'atic'.*'attic'\? choose one of train, "
    ):
        load_data(f"toys:{toys}:atic")
    for command in ("analyze", "evaluate", "train"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert re.search(
            r"\n  toys:PATH\[:train\|val\|attic\] +Toys, 2 classes\n", capsys.readouterr().out
        )
    assert "| `toys` | Toys, 2 classes | train, val, attic | free for children |" in spec_table()
    assert weights_notice(f"toys:{toys}:train") == (
        "trained on Toys images: the weights are for children only"
    )
    assert portable_name(f"toys:{toys}:attic") == "toys:attic"
    assert is_held_out(f"toys:{toys}:attic")
    assert not is_held_out(f"toys:{toys}:val")


def test_what_the_register_says_of_weights_and_evidence():
    notice = "trained on {} images: the weights are for non-commercial use only"
    said = {name: weights_notice(f"{name}:/p:train") for name in (*DATA_SETS, "scenes", "own")}
    titles = {"camvid": "CamVid", "cityscapes": "Cityscapes", "lip": "LIP", "ade20k": "ADE20K"}
    titles["mapillary"] = "Mapillary Vistas"
    assert said == {name: notice.format(titles[name]) if name in titles else None for name in said}
    held_out = {f"{n}:{s}" for n, row in DATA_SETS.items() for s in row.splits if s in row.held_out}
    assert held_out == {"camvid:eval"}
