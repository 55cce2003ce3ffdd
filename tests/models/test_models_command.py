"""``gsto-viz models``: rows with the contract's keys, a table that fits a terminal, bad input."""

import argparse
import json
from pathlib import Path

import pytest

from gsto_viz.commands import models as command
from gsto_viz.errors import GstoVizError
from gsto_viz.models import registered

KEYS = {
    "name",
    "kind",
    "task",
    "params",
    "conv_params",
    "macs",
    "macs_gi",
    "height",
    "width",
    "num_classes",
    "paper_params_m",
    "paper_gflops",
    "paper_miou",
    "note",
}


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], str]:
    """Rows and screen of one default call."""
    import contextlib
    import io

    path = tmp_path_factory.mktemp("models") / "deep" / "m.json"
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        assert call("--json", str(path)) == 0
    assert [p.name for p in path.parent.iterdir()] == ["m.json"]
    return json.loads(path.read_text()), screen.getvalue()


def test_rows_have_the_contracts_keys_and_figures(outcome) -> None:
    rows, _ = outcome
    assert all(set(row) == KEYS for row in rows)
    by_name = {row["name"]: row for row in rows}
    assert len(by_name) == len(rows)
    assert set(registered()) <= set(by_name)
    for name, params, gi, paper_params, paper_gflops in (
        ("hrnetv2-w18-small-v1", 1.5336, 31.098, 1.5, 31.1),
        ("hrnetv2-w48", 65.7738, 696.176, 65.78, 696.2),
        ("gsto-hrnet-w18-small-v2", 3.9493, 74.407, 3.95, 74.4),
        ("gsto-hrnet-w48", 65.9304, 713.916, 65.93, 714.0),
        ("gsto-hrnet-w18-small-v2[supervised=none]", 3.9265, 71.653, 3.93, 71.7),
        ("gsto-hrnet-w18-small-v2[supervised=3]", 3.9451, 73.904, 3.95, 73.9),
        ("gsto-hrnet-w18-small-v2[supervised=2+3]", 3.9493, 74.407, 3.95, 74.4),
        ("gsto-hrnet-w18-small-v2[supervised=1+2+3]", 4.0201, 83.021, 4.02, 83.0),
        ("gsto-hrnet-w32", None, None, None, None),
    ):
        row = by_name[name]
        assert row["task"] == "segmentation"
        assert (row["height"], row["width"], row["num_classes"]) == (1024, 2048, 19)
        assert (row["paper_params_m"], row["paper_gflops"]) == (paper_params, paper_gflops)
        assert row["macs_gi"] == row["macs"] / 2**30
        if params is not None:
            assert row["conv_params"] / 1e6 == pytest.approx(params, abs=5e-5)
            assert row["macs_gi"] == pytest.approx(gi, abs=5e-4)


def test_figures_that_differ_from_print_say_so(outcome) -> None:
    rows, screen = outcome
    notes = {row["name"]: row["note"] for row in rows if "not reproducible" in row["note"]}
    attention = "hrnetv2-spatial-layer-w18-small-v2"
    assert set(notes) == {"hrnetv2-w48", "gsto-hrnet-w48", attention}
    assert "72.1 Gi" in notes[attention]
    assert "65.78" in notes["hrnetv2-w48"]
    assert "714.0" in notes["gsto-hrnet-w48"]
    assert all(note in screen for note in notes.values())


def test_table_fits_100_columns(outcome) -> None:
    rows, screen = outcome
    lines = screen.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert not [line for line in lines if line != line.rstrip()]
    for row in rows:
        shown = row["name"].partition("[")[2][:-1] or row["name"]
        assert any(line.startswith(shown + " ") for line in lines), shown


def rows_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count two networks only: these tests are about options."""
    monkeypatch.setattr("gsto_viz.models.costs.ABLATIONS", ())
    monkeypatch.setattr("gsto_viz.models.costs.shipped_checkpoints", dict)
    few = {name: registered()[name] for name in ("hrnetv2-w18-small-v1", "gsto-hrnet-tiny")}
    monkeypatch.setattr("gsto_viz.models.costs.registered", lambda: few)


def test_dash_prints_json_only(monkeypatch, capsys) -> None:
    rows_of(monkeypatch)
    assert call("--json", "-", "--size", "67x101", "--classes", "5") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["hrnetv2-w18-small-v1", "gsto-hrnet-tiny"]
    assert {(r["height"], r["width"], r["num_classes"]) for r in rows} == {(67, 101, 5)}
    assert {(r["paper_params_m"], r["paper_gflops"]) for r in rows} == {(None, None)}


@pytest.mark.parametrize(
    ("words", "params", "macs"),
    [
        ((), "1.5336", "31.098"),
        (("--count", "all"), "1.5408", "31.098"),
        (("--giga", "1e9"), "1.5336", "33.391"),
        (("--count", "all", "--giga", "1e9"), "1.5408", "33.391"),
    ],
)
def test_count_conventions(monkeypatch, capsys, words, params, macs) -> None:
    rows_of(monkeypatch)
    assert call(*words) == 0
    row = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("hrnetv2-w18-sm"))
    assert row.split()[1:3] == [params, macs]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "1024"), "'1024' is not a size; write HEIGHTxWIDTH"),
        (("--size", "axb"), "'axb' is not a size; write HEIGHTxWIDTH"),
        (("--size", "٣٢x64"), "write HEIGHTxWIDTH"),
        (("--size", "31x64"), "go from 32 to 65536"),
        (("--size", "64x9999999"), "go from 32 to 65536"),
        (("--classes", "0"), "num_classes is 0"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(GstoVizError, match=message):
        call("--json", str(tmp_path / "m.json"), *words)
    assert list(tmp_path.iterdir()) == []


def test_shipped_checkpoints_get_a_row(monkeypatch, capsys, tmp_path: Path) -> None:
    from gsto_viz.models import ModelInfo, build_model, save_checkpoint
    from gsto_viz.models.base import generic_classes

    path = tmp_path / "scenes-tiny.safetensors"
    info = ModelInfo("scenes-tiny", "gsto-hrnet-tiny", generic_classes(11))
    save_checkpoint(build_model("gsto-hrnet-tiny", num_classes=11), path, info=info)
    rows_of(monkeypatch)
    monkeypatch.setattr("gsto_viz.models.costs.shipped_checkpoints", lambda: {"scenes-tiny": path})
    assert call("--json", "-") == 0
    row = json.loads(capsys.readouterr().out)[-1]
    assert (row["name"], row["kind"], row["num_classes"]) == ("scenes-tiny", "checkpoint", 11)
    assert (row["height"], row["width"]) == (1024, 2048)
    assert "gsto-hrnet-tiny" in row["note"]
    assert row["paper_params_m"] is None


def test_a_bad_json_file_is_refused_before_anything_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsto_viz.models.costs.cost_table", lambda *_: pytest.fail("counted"))
    with pytest.raises(GstoVizError, match="is not a file name"):
        call("--json", str(tmp_path))
