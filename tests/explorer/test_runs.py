"""Logs of training runs, whole and damaged; curves that keep their extremes; checkpoint facts."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsto_viz import GstoVizError
from gsto_viz.explorer import charts as run_charts
from gsto_viz.explorer.checkpoints import (
    UNSTATED,
    card_of,
    checkpoint_table,
    facts_of,
    list_choices,
)
from gsto_viz.explorer.values.runs import (
    MAX_LINE_BYTES,
    TrainingLog,
    read_log,
    run_table,
    thinned_curve,
)
from gsto_viz.explorer.views.runs import notes_of
from gsto_viz.models import load_checkpoint, save_checkpoint
from gsto_viz.train.folder import RunLog


def train_line(step: int, loss: object = 1.0, **more: object) -> str:
    values = {
        "epoch": step // 10,
        "lr": 0.1 / (step + 1),
        "images_per_s": 5.0,
        "seconds": 2.0 * step,
    }
    return json.dumps({"kind": "train", "step": step, "loss": loss, **values, **more})


def val_line(step: int, miou: float) -> str:
    return json.dumps(
        {"kind": "val", "step": step, "epoch": step // 10, "miou": miou, "iou": [1.0]}
    )


def written(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_bytes(("\n".join(lines) + end).encode())
    return path


def test_a_log_of_the_trainer_is_read_back(tmp_path):
    with RunLog(tmp_path) as log:
        log.write("train", 10, epoch=0, loss=2.5, lr=0.04, images_per_s=7.0, seconds=11.0)
        log.write("val", 10, epoch=1, miou=30.0, pixel_accuracy=80.0, mean_accuracy=50.0, iou=[1.0])
        log.write("train", 20, epoch=1, loss=1.5, lr=0.02, images_per_s=8.0, seconds=21.0)
        log.write("note", 20, text="something else")
    found = read_log(tmp_path / "log.jsonl")
    assert found.train["step"].tolist() == [10, 20]
    assert found.train["loss"].tolist() == [2.5, 1.5]
    assert found.val.iloc[0].to_dict() == {
        "step": 10,
        "epoch": 1,
        "miou": 30.0,
        "pixel_accuracy": 80.0,
        "mean_accuracy": 50.0,
    }
    assert (found.damaged, found.unfinished, found.left_out_bytes) == (0, False, 0)
    assert notes_of(found) == []
    row = run_table({"a": found}).iloc[0]
    assert (row["step"], row["epoch"], row["best mIoU (%)"], row["at epoch"]) == (20, 1, 30.0, 1)
    assert (row["last loss"], row["images/s"]) == (1.5, 8.0)
    assert row["hours"] == pytest.approx(21 / 3600)


def test_a_line_that_is_being_written_is_no_damage(tmp_path):
    path = written(tmp_path / "log", train_line(1), train_line(2)[:25], end="")
    found = read_log(path)
    assert found.train["step"].tolist() == [1]
    assert (found.damaged, found.unfinished) == (0, True)
    assert "still being written" in notes_of(found)[0]
    # Whole but for its end: it counts.
    found = read_log(written(path, train_line(1), train_line(2), end=""))
    assert found.train["step"].tolist() == [1, 2]
    assert not found.unfinished


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        "null",
        "\x00\x00",
        '{"kind": 3}',
        '{"kind": "train"}',
        '{"kind": "train", "step": "1", "loss": 1}',
        '{"kind": "train", "step": -1, "loss": 1}',
        '{"kind": "train", "step": 1e300, "loss": 1}',
        '{"kind": "train", "step": true, "loss": 1}',
        '{"kind": "train", "step": 4, "loss": NaN}',
        '{"kind": "train", "step": 4, "loss": 1' + "0" * 400 + "}",
        '{"kind": "train", "step": 4, "loss": 1' + "0" * 5000 + "}",
        '{"kind": "val", "step": 4}',
        "[" * 5000,
        "x" * (3 * MAX_LINE_BYTES),
        "x" * MAX_LINE_BYTES,
    ],
)
def test_damaged_lines_are_counted_and_left_out(tmp_path, line):
    found = read_log(written(tmp_path / "log", train_line(1), line, "", train_line(2)))
    assert found.train["step"].tolist() == [1, 2]
    assert found.damaged == 1
    assert notes_of(found) == ["1 line is damaged and left out."]


def test_a_step_that_was_logged_twice_counts_as_logged_last(tmp_path):
    lines = [train_line(1, 5.0), train_line(3, 4.0), train_line(2, 3.0), train_line(3, 2.0)]
    found = read_log(written(tmp_path / "log", *lines))
    assert list(zip(found.train["step"], found.train["loss"], strict=True)) == [
        (1, 5.0),
        (2, 3.0),
        (3, 2.0),
    ]


def test_of_a_long_log_the_end_is_read(tmp_path):
    lines = [train_line(step) for step in range(200)]
    path = written(tmp_path / "log", *lines)
    size = path.stat().st_size
    found = read_log(path, max_bytes=size // 2)
    whole, kept = [len(line) + 1 for line in lines], 0
    # Every line that lies wholly within the last half, but for one that begins exactly there.
    while sum(whole[kept:]) > size // 2:
        kept += 1
    assert found.train["step"].iloc[0] in (kept, kept + 1)
    assert found.train["step"].iloc[-1] == 199
    assert found.damaged == 0
    assert 0 < found.left_out_bytes < size
    assert "long" in notes_of(found)[0]


def test_an_empty_log_and_one_that_is_not_there(tmp_path):
    found = read_log(written(tmp_path / "log", end=""))
    assert found.train.empty
    row = run_table({"a": found}).iloc[0]
    assert math.isnan(row["last loss"])
    assert run_charts.curve({"a": found}, "loss", "loss") is None
    assert run_charts.scores({"a": found}) is None
    with pytest.raises(GstoVizError, match="cannot read"):
        read_log(tmp_path / "none")


@pytest.mark.parametrize("count", [10, 2000, 2001, 9999, 50_000])
def test_thinning_keeps_the_extremes_and_the_ends(count):
    rng = np.random.default_rng(count)
    values = rng.normal(size=count).cumsum()
    frame = pd.DataFrame({"step": np.arange(count), "loss": values})
    kept = thinned_curve(frame, "loss")
    assert len(kept) <= 2000
    assert len(kept) == count or len(kept) > 1000
    assert kept["step"].is_monotonic_increasing
    assert kept["step"].is_unique
    assert (kept["loss"] == values[kept["step"]]).all()
    assert {0, count - 1} <= set(kept["step"])
    # In each of 999 stretches, by a loop of its own: highest and lowest are there.
    if count > 2000:
        known = set(kept["loss"])
        for k in range(999):
            start, end = k * count // 999, (k + 1) * count // 999
            assert {max(values[start:end]), min(values[start:end])} <= known


def test_thinning_leaves_out_what_has_no_value():
    frame = pd.DataFrame({"step": [1, 2, 3], "lr": [0.1, np.nan, np.inf]})
    assert thinned_curve(frame, "lr")["step"].tolist() == [1]


def test_curves_hold_every_run(tmp_path):
    lines = [train_line(step, 2.0 / (1 + step)) for step in range(5)] + [val_line(4, 50.0)]
    log = read_log(written(tmp_path / "log", *lines))
    empty = TrainingLog(log.train.iloc[:0], log.val.iloc[:0], log.sci)
    chart = run_charts.curve({"x": log, "y": log, "z": empty}, "loss", "loss")
    assert chart is not None
    assert chart.data.groupby("run").size().to_dict() == {"x": 5, "y": 5}
    domain = chart.to_dict()["encoding"]["strokeDash"]["scale"]["domain"]
    assert domain == ["x", "y", "z"]
    assert run_charts.confusion({"x": log}) is None
    dots = run_charts.scores({"x": log, "z": empty})
    assert dots is not None
    assert dots.data["miou"].tolist() == [50.0]


def sci_line(step: int, sci: float | None, images: object = 24) -> str:
    found = {"sci": sci, "c_fine": 0.4, "c_coarse": 0.5, "images": images, "pairs": 90}
    return json.dumps({"kind": "sci", "step": step, "epoch": step // 10} | found)


def test_sci_over_training_is_read_and_drawn(tmp_path):
    lines = [val_line(10, 30.0), sci_line(10, 0.5), sci_line(20, None, 0), sci_line(30, 0.25)]
    log = read_log(written(tmp_path / "log", *lines, sci_line(40, 0.1, "many")))
    assert log.damaged == 1
    assert log.sci["step"].tolist() == [10, 20, 30]
    assert log.sci["sci"].isna().tolist() == [False, True, False]
    bare = TrainingLog(log.train, log.val, log.sci.iloc[:0])
    table = run_table({"a": log, "b": bare})
    assert table["last SCI"].iloc[0] == 0.25
    assert math.isnan(table["last SCI"].iloc[1])
    assert "last SCI" not in run_table({"b": bare})
    chart = run_charts.confusion({"a": log, "b": bare})
    assert chart is not None
    drawn = [row for data in chart.to_dict()["datasets"].values() for row in data if "run" in row]
    assert [(row["run"], row["epoch"], row["sci"]) for row in drawn] == [
        ("a", 1, 0.5),
        ("a", 3, 0.25),
    ]


# checkpoints


@pytest.fixture
def folder(tmp_path, tiny_files) -> Path:
    """``trained`` says how it was made, ``odd`` says nonsense, ``plain`` says nothing."""
    from dataclasses import replace

    model = load_checkpoint(tiny_files["gated"], name="trained")
    recipe = {"epochs": 3, "batch_size": 2, "lr": 0.04, "model": "x"}
    training = {"recipe": recipe, "step": 30, "epoch": 3, "miou": 51.25, "data": "d", "val": "v"}
    save_checkpoint(
        model, tmp_path / "trained.safetensors", info=replace(model.info, training=training)
    )
    odd = {"recipe": [1], "step": 10**30, "epoch": True, "miou": "x", "data": 7}
    save_checkpoint(model, tmp_path / "odd.safetensors", info=replace(model.info, training=odd))
    (tmp_path / "plain.safetensors").write_bytes(tiny_files["plain"].read_bytes())
    (tmp_path / "trained.md").write_text("# Card\n\nMade from [another](other.md) one.\n")
    return tmp_path


def test_facts_come_from_the_header(folder):
    choices = {choice.key: choice for choice in list_choices(folder)[0]}
    facts = facts_of(choices["trained.safetensors"])
    assert facts.recipe == "3 epochs, batches of 2, rate 0.04"
    assert (facts.step, facts.epoch, facts.miou, facts.data, facts.val) == (30, 3, 51.25, "d", "v")
    for key in ("odd.safetensors", "plain.safetensors"):
        bare = facts_of(choices[key])
        assert (bare.step, bare.epoch, bare.miou, bare.data, bare.recipe) == (None,) * 5
    table = checkpoint_table(
        [facts_of(choice) for choice in choices.values()],
        lambda choice: choice.key[0] * 64,
        "odd.safetensors",
        "odd.safetensors",
    ).set_index("checkpoint")
    assert table.loc["odd.safetensors", "used as"] == "A and B"
    row = table.loc["trained.safetensors"]
    assert row["SHA-256"] == "t" * 12
    assert row["licence"] == "for research only"
    assert row["size (MB)"] == (folder / "trained.safetensors").stat().st_size / 1e6
    assert table.loc["plain.safetensors", "licence"] == UNSTATED


def test_files_of_training_and_of_analyses_are_not_taken_for_checkpoints(folder):
    for name in ("state.safetensors", "gains.safetensors", "other.safetensors"):
        (folder / name).write_bytes(b"no checkpoint")
    choices, left_out = list_choices(folder)
    assert len(choices) == 3
    assert len(left_out) == 1
    assert left_out[0].startswith("other.safetensors")


def test_a_card_has_no_links(folder):
    choices = {choice.key: choice for choice in list_choices(folder)[0]}
    assert card_of(choices["trained.safetensors"]) == "# Card\n\nMade from another one.\n"
    assert card_of(choices["plain.safetensors"]) is None


def test_facts_of_a_file_that_went_away_are_refused(folder):
    choice = next(c for c in list_choices(folder)[0] if c.key == "plain.safetensors")
    choice.path.unlink()
    with pytest.raises(GstoVizError, match="is not a readable"):
        facts_of(choice)
