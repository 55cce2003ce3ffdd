"""``gsto-viz scenes``: the folder is exact, complete, and never replaces what it should not."""

import argparse
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from gsto_viz.cli import main
from gsto_viz.commands import scenes as command
from gsto_viz.data import CAMVID_CLASSES, class_list_from_json
from gsto_viz.data.scenes import SceneDataset, write_scenes
from gsto_viz.errors import GstoVizError

SIZE = (64, 96)


def call(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--quiet", action="store_true")
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_the_folder_holds_what_the_data_set_renders(tmp_path, capsys):
    out = tmp_path / "a" / "scenes"
    assert call(out, "--count", 3, "--seed", 5, "--size", "64x96") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert captured.err == ""
    data = SceneDataset(3, 5, SIZE)
    for sample in data:
        read = {n: np.array(Image.open(out / n / f"{sample.id}.png")) for n in
                ("images", "labels", "instances")}  # fmt: skip
        assert (read["images"] == sample.image).all()
        assert (read["labels"] == sample.labels).all()
        assert (read["instances"] == sample.instances).all()
        raw = cv2.imread(str(out / "instances" / f"{sample.id}.png"), cv2.IMREAD_UNCHANGED)
        assert raw.dtype == np.uint16
    assert len(listing(out)) == 3 * 3 + 4
    assert class_list_from_json(json.loads((out / "classes.json").read_text())).classes == (
        CAMVID_CLASSES.classes
    )
    assert [p.name for p in out.parent.iterdir()] == ["scenes"]


def test_training_split_names_training_seeds(tmp_path):
    call(tmp_path / "t", "--count", 1, "--seed", 4, "--size", "64x64", "--split", "train")
    assert listing(tmp_path / "t" / "images") == ["scene-0000004-00000.png"]


def test_decorrelated_scenes_are_written(tmp_path):
    call(tmp_path / "d", "--count", 1, "--size", "64x96", "--decorrelated")
    (sample,) = SceneDataset(1, 0, SIZE, decorrelated=True)
    assert listing(tmp_path / "d" / "images") == ["scene-decorrelated-1000000-00000.png"]
    read = np.array(Image.open(tmp_path / "d" / "labels" / f"{sample.id}.png"))
    assert (read == sample.labels).all()


def test_a_full_folder_needs_overwrite(tmp_path):
    out = tmp_path / "scenes"
    call(out, "--count", 2, "--size", "64x96")
    with pytest.raises(GstoVizError, match="--overwrite replaces it"):
        call(out, "--count", 1, "--size", "64x96")
    assert len(listing(out / "images")) == 2
    call(out, "--count", 1, "--size", "64x96", "--overwrite")
    assert len(listing(out / "images")) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["scenes"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    call(tmp_path / "empty", "--count", 1, "--size", "64x64")
    assert (tmp_path / "empty" / "classes.json").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_overwrite_spares_folders_of_other_things(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(GstoVizError, match=r"holds 'thesis\.tex'"):
        call(tmp_path / "home", "--count", 1, "--overwrite")
    assert listing(tmp_path) == ["home", "home/thesis.tex"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(GstoVizError, match="is not a folder"):
        call(tmp_path / "file", "--count", 1, "--overwrite")
    assert (tmp_path / "file").read_text() == "x"


class Failing(SceneDataset):
    """Fails at the second image."""

    def __init__(self, error):
        super().__init__(3, 0, SIZE)
        self.error = error

    def __getitem__(self, index):
        if index == 1:
            raise self.error
        return super().__getitem__(index)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("bug"), OSError(28, "full")])
def test_a_failure_leaves_nothing_and_keeps_the_old(tmp_path, error):
    out = tmp_path / "scenes"
    expected = GstoVizError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_scenes(out, Failing(error))
    assert listing(tmp_path) == []
    write_scenes(out, SceneDataset(1, 0, SIZE))
    before = listing(out)
    with pytest.raises(expected):
        write_scenes(out, Failing(error), overwrite=True)
    assert listing(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["scenes"]


class Crowded(SceneDataset):
    """Numbers an instance beyond what a 16-bit PNG holds."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        instances = sample.instances.copy()
        instances[0, 0] = 65536
        return replace(sample, instances=instances)


def test_too_many_instances_is_one_sentence_and_writes_nothing(tmp_path):
    with pytest.raises(GstoVizError, match=r"to 65536 do not fit a 16-bit PNG"):
        write_scenes(tmp_path / "scenes", Crowded(1, 0, SIZE))
    assert listing(tmp_path) == []


def test_a_negative_seed_writes_nothing(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["scenes", str(tmp_path / "scenes"), "--seed", "-1"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "--seed: -1 is negative; give 0 or more" in line
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--count", 0), "count 0"),
        (("--seed", 1_000_000, "--split", "train"), "evaluation seed"),
        (("--size", "64by64"), "64by64"),
        (("--size", "40x512"), "40x512"),
    ],
)
def test_wrong_options_write_nothing(tmp_path, words, message):
    with pytest.raises(GstoVizError, match=message):
        call(tmp_path / "x", *words)
    assert listing(tmp_path) == []


def test_no_permission_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GstoVizError, match="cannot write"):
        call(tmp_path / "file" / "scenes", "--count", 1, "--size", "64x64")


def test_progress_goes_to_stderr(tmp_path, capsys):
    write_scenes(tmp_path / "s", SceneDataset(2, 0, SIZE), progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2/2" in captured.err
