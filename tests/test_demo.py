"""The demo: an analysis of a few scenes with its figures and its page, in one folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.demo import check_free, run_demo, sizes_text
from gsto_viz.errors import GstoVizError
from gsto_viz.models import save_checkpoint
from gsto_viz.report import load_report

DATA = "scenes:count=3,seed=5,size=96x160"


@pytest.fixture(scope="module")
def demo(networks, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return run_demo(networks, load_data(DATA), out, nulls=False)


def test_the_folder_has_the_page_the_figures_and_the_tables(demo):
    names = {path.name for path in demo.folder.iterdir()}
    assert {"report.html", "figure1.pdf", "figure1.png", "sizes.pdf", "sizes.png"} <= names
    assert {"sizes.csv", "summary.json", "manifest.json", "comparison.json", "figures"} <= names
    assert [path.name for path in demo.folder.parent.iterdir()] == ["out"]
    figures = demo.folder / "figures"
    assert (demo.folder / "figure1.png").read_bytes() == (
        figures / "figure1_percentile.png"
    ).read_bytes()
    assert load_report(demo.folder).summary == demo.summary


def test_sizes_are_means_of_image_means(demo):
    frame = pd.read_csv(demo.folder / "sizes.csv")
    assert set(frame["model"]) == {"A", "B"}
    table = demo.table("B")
    for row in frame[frame["model"] == "B"].itertuples():
        per_image = []
        for _, rows in table.groupby("image"):
            values = [
                getattr(r, f"z_{row.branch}")
                for r in rows.itertuples()
                if r.qualifies and int(np.floor(r.size_octave)) == row.octave
            ]
            if values:
                per_image.append(sum(values) / len(values))
        assert row.mean == pytest.approx(sum(per_image) / len(per_image))


def test_the_table_for_the_screen_has_a_row_for_each_octave(demo):
    text = sizes_text(demo)
    octaves = set(pd.read_csv(demo.folder / "sizes.csv")["octave"])
    assert sum(" to " in line for line in text.splitlines()) == len(octaves)
    assert max(map(len, text.splitlines())) <= 100


def test_failure_leaves_nothing_behind_and_names_the_target(networks, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gsto_viz.demo.write_page", broken)
    with pytest.raises(GstoVizError, match="out: No space left on device"):
        run_demo(networks, load_data(DATA), tmp_path / "out", nulls=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(GstoVizError, match="not empty"):
        check_free(tmp_path, overwrite=False)
    with pytest.raises(GstoVizError, match=r"holds 'thesis\.tex', which this command never writes"):
        check_free(tmp_path, overwrite=True)
    with pytest.raises(GstoVizError, match="is not a folder"):
        check_free(tmp_path / "thesis.tex", overwrite=True)


@pytest.mark.slow
def test_the_command_writes_and_prints(networks, tmp_path: Path, capsys):
    words = []
    for key, model in networks.items():
        path = tmp_path / f"{key}.safetensors"
        save_checkpoint(model, path, info=model.info)
        words.append(f"--model={key}={path}")
    out = tmp_path / "demo"
    given = [*words, "--data", DATA, "--out", str(out), "--device", "cpu", "--no-nulls"]
    assert main(["demo", *given]) == 0
    shown = capsys.readouterr().out
    for part in ("Mean percentile response", "SCI", "B - A, paired over images"):
        assert part in shown
    assert f"{out / 'report.html'} is the page" in shown
    assert main(["demo", *given]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["demo", *given, "--overwrite", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "summary.json").read_text())
    for wrong, message in (
        (["--model", "C"], "write NAME=CHECKPOINT"),
        (["--model", "A=x"], "one alone has nothing to differ from; give more"),
        (["--model", "A=x", "--model", "A=y"], "given twice"),
    ):
        assert main(["demo", *wrong, "--out", str(tmp_path / "new")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("words", [(), ("--json", "-")])
def test_skipped_images_are_status_3_beside_json_too(
    demo, tmp_path: Path, monkeypatch, capsys, words
):
    manifest = demo.manifest | {"skipped": [{"image": "s00001", "reason": "planted"}]}
    monkeypatch.setattr("gsto_viz.demo.run_demo", lambda *_, **__: replace(demo, manifest=manifest))
    assert main(["demo", "--out", str(tmp_path / "o"), "--device", "cpu", *words]) == 3
