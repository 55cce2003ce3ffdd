"""``gsto-viz analyze`` from the outside: exit statuses, one-line errors, several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsto_viz.cli import main
from gsto_viz.errors import GstoVizError
from gsto_viz.models import save_checkpoint
from gsto_viz.network import read_sites
from gsto_viz.regions import size_octaves
from gsto_viz.report.examples import choose, worst_pairs
from gsto_viz.stats import sci

SPEC = "scenes:count=10,seed=5,size=96x160"


@pytest.fixture(scope="module")
def files(networks, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {}
    for key, model in networks.items():
        paths[key] = folder / f"{model.info.name}.safetensors"
        save_checkpoint(model, paths[key], info=model.info)
    return paths


def words(files: dict[str, Path], out: Path, *more: str) -> list[str]:
    models = [f"--model={key}={path}" for key, path in files.items()]
    return ["analyze", *models, "--data", SPEC, "--out", str(out), "--device", "cpu", *more]


def test_analyze_prints_the_headline_and_where_to_go_on(files, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(words(files, out, "--limit", "3")) == 0
    shown = capsys.readouterr().out
    assert "A = hrnetv2-tiny-test, mIoU" in shown
    assert "SCI" in shown
    assert f"gsto-viz compare {out}" in shown
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["models"]["A"]["indices"]["sci"]) == {
        "value", "low", "high", "n_images", "n_pairs", "reason", "nulls",
    }  # fmt: skip
    assert main(words(files, out, "--limit", "3", "--resume", "--json", "-")) == 0
    assert json.loads(capsys.readouterr().out) == summary


def status_of(line):
    """What the process would leave with; argparse leaves by itself."""
    try:
        return main(line)
    except SystemExit as leave:
        return leave.code


def test_what_is_wrong_is_one_line_and_nothing_is_written(files, tmp_path, capsys):
    out = tmp_path / "run"
    (tmp_path / "taps.yaml").write_text("branches: [stage2.branch0, stage3.branch0]\n")
    cases = {
        ("--limit", "0"): "--limit 0: give at least 1",
        ("--model", "C=x"): "no checkpoint 'x'",
        ("--model", "=x"): "--model =x: write NAME=CHECKPOINT",
        ("--model", "A=x"): "--model A is given twice",
        ("--model", "a.b=x"): "'a.b' is not a name for a network",
        ("--reference", "C"): "the reference 'C' is not among A, B",
        tuple(f"--model=n{k}=x" for k in range(7)): "9 networks were given; give 1 to 8",
        ("--taps", str(tmp_path / "taps.yaml")): "all branches have one stride (4, 4)",
        ("--taps", str(tmp_path / "no.yaml")): "cannot read the taps file",
        ("--size", "1x1"): "size 1x1 is out of range",
        ("--seed", "-1"): "argument --seed: -1 is negative; give 0 or more",
        ("--json", "/proc/nowhere/x.json"): "--json: cannot write /proc/nowhere/x.json",
    }
    for more, message in cases.items():
        assert status_of(words(files, out, *more)) == 2
        error = capsys.readouterr().err
        assert error.startswith("gsto-viz analyze: ")
        assert error.count("\n") == 1
        assert message in error
        assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("x")
    assert main(words(files, out)) == 2
    assert "is not empty" in capsys.readouterr().err


def test_unreadable_images_give_status_3(files, make_folder, networks, tmp_path, capsys):
    root = make_folder(tmp_path / "data", count=4, size=(64, 96), classes=11)
    classes = json.loads((root / "classes.json").read_text())
    for entry, name in zip(classes["classes"], networks["A"].info.classes.names, strict=True):
        entry["name"] = name
    (root / "classes.json").write_text(json.dumps(classes))
    broken = root / "images" / "002.png"
    broken.write_bytes(broken.read_bytes()[:60])
    out = tmp_path / "run"
    given = ["--data", f"folder:{root}", "--out", str(out), "--device", "cpu"]
    assert main(["analyze", f"--model=A={files['A']}", *given]) == 3
    shown = capsys.readouterr().out
    assert "skipped 002: " in shown
    assert "002.png" in shown.split("skipped 002: ")[1]
    assert json.loads((out / "manifest.json").read_text())["skipped"][0]["image"] == "002"


def test_a_taps_file_says_where_networks_are_read(networks, tmp_path):
    path = tmp_path / "taps.yaml"
    path.write_text("branches: stage3.m0.branch?.pre\n")
    sites = read_sites(path, networks)
    assert sites["A"].branch_taps == tuple(f"stage3.m0.branch{r}.pre" for r in range(3))
    assert sites["B"].strides == (4, 8, 16)
    path.write_text("branches: [a, b]\nstrides: [4, 8]\n")
    assert read_sites(path, networks)["A"].strides == (4, 8)
    for text, message in {
        "- a": "has no 'branches'",
        "branches: [1]": "are not names",
        "branches: a\nstride: [4]": "unknown key 'stride'",
        "branches: [a]\nstrides: four": "are not whole numbers",
        "branches: [a": "is not YAML",
        "branches: stage9.branch*": "no tap of HRNet is called",
        "branches: head.logits": "is not a feature map of a branch",
    }.items():
        path.write_text(text)
        with pytest.raises(GstoVizError, match=message):
            read_sites(path, networks)


@pytest.mark.parametrize("seed", range(4))
def test_worst_pairs_are_those_a_loop_finds(seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "image": np.repeat([f"i{k}" for k in range(6)], 7),
            "region": np.tile(np.arange(1, 8), 6),
            "area_px": rng.integers(64, 60_000, 42),
            "q": np.where(rng.random(42) < 0.1, np.nan, rng.normal(size=42)),
            "qualifies": rng.random(42) > 0.2,
        }
    )
    table["size_octave"] = np.log2(np.sqrt(table["area_px"]))
    best: dict[str, tuple] = {}
    for one in table.itertuples():
        for two in table.itertuples():
            same = one.image == two.image and one.qualifies and two.qualifies
            gap = two.size_octave - one.size_octave
            wrong = same and two.area_px >= 4 * one.area_px and two.q < one.q - 1e-9
            error = gap * (one.q - two.q)
            if wrong and error > best.get(one.image, (0,))[0]:
                best[one.image] = (error, one.region, two.region)
    expected = sorted(((-error, image, s, g) for image, (error, s, g) in best.items()))[:3]
    found = worst_pairs(table, "A")
    assert [(p.image, p.small_region, p.large_region) for p in found] == [e[1:] for e in expected]
    chosen = choose(table, found)
    assert next(iter(chosen.values())) == "example"
    assert {p.image for p in found} <= set(chosen)


def test_a_pair_exactly_an_octave_apart_can_be_the_worst():
    # Octaves round: of many areas n, 4 n is less than one octave larger. SCI counts such a pair.
    for small in (7, 64, 67, 91, 111, 1999):
        area = np.array([small, 4 * small])
        table = pd.DataFrame(
            {
                "image": "one",
                "region": [1, 2],
                "class_id": 0,
                "area_px": area,
                "size_octave": size_octaves(area),
                "q": [0.5, 0.0],
                "qualifies": True,
            }
        )
        assert sci(table).value == 1.0
        (pair,) = worst_pairs(table, "A")
        assert (pair.small_region, pair.large_region) == (1, 2)
        assert pair.gap_octaves == pytest.approx(1, abs=1e-12)


@pytest.mark.slow
def test_two_processes_give_the_same_tables(files, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    python = [sys.executable, "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = [*python, "gsto_viz", *words(files, one, "--nulls")]
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    shared = [*python, *launch, "-m", "gsto_viz", *words(files, two, "--nulls")]
    for command in (alone, shared):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("A = hrnetv2-tiny-test") == 1
    for name in ("regions", "values", "random", "layout", "profile", "confusion"):
        tables = [pd.read_parquet(folder / f"{name}.parquet") for folder in (one, two)]
        pd.testing.assert_frame_equal(*tables)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, two)]
    assert summaries[0] == summaries[1]
    manifest = json.loads((two / "manifest.json").read_text())
    assert manifest["processes"] == 2
