"""The study's runner: what it plans and refuses, and a small study that is killed on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file

from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import evaluate
from gsto_viz.models import load_checkpoint
from gsto_viz.train import train
from gsto_viz.train.folder import read_progress
from gsto_viz.train.recipe import load_recipe

SCRIPTS = Path(__file__).parents[2] / "analysis" / "study"
RECIPE = {
    "model": "hrnetv2-tiny",
    "crop": [64, 96],
    "batch_size": 4,
    "epochs": 2,
    "warmup_steps": 2,
    "eval_every": 2,
    "keep_every": 2,
    "sci_every": 2,
    "state_every": 1,
    "log_every": 1,
}
# 8 images: 2 steps an epoch.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"label": "Plain, of its kind", "model": "hrnetv2-tiny"},
    "gated": {"model": "gsto-hrnet-tiny", "model_options": {"gate_form": "paper"}},
}
ARM = {
    "recipe": "base.yaml",
    "data": "scenes:count=8,size=64x96",
    "val": "scenes:count=2,seed=1,size=64x96",
    "test": "scenes:count=3,seed=2,size=96x160",
    "variants": ["plain", "gated"],
    "further": [],
    "seeds": 2,
    "floor": 0,
    "attribution_images": 2,
    "seconds_per_step": 3,
}
Study = Callable[..., Path]


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules of the study, as its scripts import them."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import arms
        import places
        import run
        import work

        yield SimpleNamespace(arms=arms, places=places, run=run, work=work)
    finally:
        sys.path.remove(str(SCRIPTS))


def write_study(
    folder: Path,
    *,
    protocol: str = "2.3",
    table: dict[str, Any] = VARIANTS,
    recipe: dict[str, Any] | None = None,
    **arm: Any,
) -> Path:
    """Write a study file with one arm, ``tiny``, and its recipe."""
    (folder / "base.yaml").write_text(yaml.safe_dump({**RECIPE, **(recipe or {})}))
    values = {"protocol": protocol, "variants": table, "arms": {"tiny": {**ARM, **arm}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(values))
    return folder / "study.yaml"


def words(folder: Path, *more: str) -> list[str]:
    return ["--study", str(folder / "study.yaml"), "--arm", "tiny", "--out", f"{folder}/out", *more]


def start(folder: Path, *more: str) -> "subprocess.Popen[str]":
    """Start the runner in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / "run.py"), *words(folder, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]", status: int = 0) -> str:
    out, err = process.communicate(timeout=900)
    assert process.returncode == status, out + err
    return out


def until(holds: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not holds():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def kill_on_the_way(folder: Path) -> None:
    """Kill a study in the middle of a run; a busy machine may take several times for that."""
    for _ in range(10):
        first = start(folder)
        until(lambda: bool(list(folder.glob("out/runs/*/state.safetensors"))), first)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        states = list(folder.glob("out/runs/*/state.safetensors"))
        if not all(read_progress(path).finished for path in states):
            return
        shutil.rmtree(folder / "out")
    raise AssertionError("every run that began was over before it could be killed")


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of two seeds: killed while the first runs train, resumed; seed 1 is measured."""
    folder: Path = tmp_path_factory.mktemp("study")
    write_study(folder)
    kill_on_the_way(folder)
    out = ended(start(folder, "--resume"))
    assert "4 runs: 4 trained" in out
    assert "2 measured" in ended(start(folder, "--measure", "--seeds", "1"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_study_ends_with_the_weights_of_runs_left_alone(
    small_study: Path, tmp_path: Path, variant: str, seed: int
) -> None:
    settings = {k: v for k, v in VARIANTS[variant].items() if k != "label"} | {"seed": seed}
    train(
        load_recipe(small_study / "base.yaml").with_settings(settings),
        load_data(ARM["data"], purpose="train"),
        tmp_path / "alone",
        val=load_data(ARM["val"]),
    )
    alone = load_file(tmp_path / "alone" / "last.safetensors")
    studied = load_file(small_study / "out" / "runs" / f"{variant}-seed{seed}" / "last.safetensors")
    assert alone.keys() == studied.keys()
    assert all(alone[name].equal(studied[name]) for name in alone)


@pytest.mark.slow
def test_seeds_are_paired_and_differ(small_study: Path) -> None:
    plain, other, gated = (
        yaml.safe_load((small_study / "out" / "runs" / run / "config.yaml").read_text())
        for run in ("plain-seed1", "plain-seed2", "gated-seed1")
    )
    assert plain["data_images"] == gated["data_images"] == other["data_images"]
    differ = {k for k in plain["recipe"] if plain["recipe"][k] != gated["recipe"][k]}
    assert differ == {"model", "model_options"}
    assert {k for k in plain["recipe"] if plain["recipe"][k] != other["recipe"][k]} == {"seed"}


@pytest.mark.slow
def test_results_say_what_other_commands_say(small_study: Path) -> None:
    results = small_study / "results" / "tiny"
    runs = pd.read_csv(results / "runs.csv").set_index("variant")
    assert runs["seed"].tolist() == [1, 1]
    assert runs["status"].tolist() == ["finished"] * 2
    data = load_data(ARM["test"])
    for variant in VARIANTS:
        network = load_checkpoint(small_study / "out/runs" / f"{variant}-seed1/last.safetensors")
        row, path = runs.loc[variant], results / f"{variant}-seed1"
        assert row["miou"] == pytest.approx(evaluate(network, data).scores.miou, rel=1e-5)
        images = pd.read_csv(path.with_suffix(".csv"))
        assert images["image"].tolist() == sorted(data.ids)
        for column in ("sci", "sci_edge", "a_first_matched", "a_last", "sci_pre", "sci_c", "stp"):
            assert images[column].mean() == pytest.approx(row[column], rel=1e-4), column
        assert images["sci_c"].count() <= ARM["attribution_images"]
        assert row["sci_N5"] == 0.5
        result = json.loads(path.with_suffix(".json").read_text())
        assert len(result["post"]["indices"]["sci"]["nulls"]["N3"]["draws"]) == 5
        assert (result["post"]["gates"] is None) == (variant == "plain")
        assert all(path.with_suffix(end).stat().st_size < 50_000 for end in (".csv", ".json"))
    assert runs["gate_selectivity"].notna().tolist() == [True, False]
    course = pd.read_csv(results / "course.csv")
    assert set(course["kind"]) == {"val", "sci"}
    assert set(course["name"]) >= {"miou", "pixel_accuracy", "pairs"}
    assert str(small_study) not in (results / "plain-seed1.json").read_text()


@pytest.mark.slow
def test_what_is_measured_is_neither_measured_nor_trained_again(
    small_study: Path, scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = small_study / "results" / "tiny"
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in results.glob("*-seed*")
    }
    assert scripts.run.main(words(small_study, "--measure", "--seeds", "1")) == 0
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in results.glob("*-seed*")}
    # On a machine that has the results and not the runs:
    elsewhere = ["--out", str(tmp_path / "new"), "--results", str(results), "--dry-run"]
    capsys.readouterr()
    assert scripts.run.main(words(small_study, *elsewhere)) == 0
    said = capsys.readouterr().out
    assert "to train     2 of them, 4 steps each, 8 in all" in said
    assert "3.00 s a step (assumed" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": "3.0"}, "is of protocol 2.3 and this is 3.0"),
        ({"protocol": "2.2"}, "is of protocol 2.3 and this is 2.2"),
        ({"recipe": {"lr": 0.01}}, "recipes.plain.lr: 0.04 -> 0.01"),
        ({"test": "scenes:count=3,seed=9"}, "test: 'scenes:count=3,seed=2,size=96x160' -> "),
        ({"variants": ["plain"]}, "recipes.gated: "),
    ],
)
def test_a_folder_of_another_study_is_refused(
    small_study: Path,
    scripts: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    change: dict[str, Any],
    said: str,
) -> None:
    study = write_study(tmp_path, **change)
    for taken in ("out", "results"):
        places = {"out": f"{tmp_path}/fresh", "results": f"{tmp_path}/empty"}
        places[taken] = f"{small_study}/out" if taken == "out" else f"{small_study}/results/tiny"
        given = [f"--{k}={v}" for k, v in places.items()]
        assert scripts.run.main([f"--study={study}", "--arm=tiny", "--resume", *given]) == 2
        assert_one_line(capsys, said)


def assert_one_line(capsys: pytest.CaptureFixture[str], said: str) -> None:
    captured = capsys.readouterr()
    assert re.fullmatch(r"run\.py: [^\n]+\n", captured.err), captured.err
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.slow
def test_a_minor_version_goes_on_where_it_only_adds_variants(
    small_study: Path, scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    more = {**VARIANTS, "third": {"model": "gsto-hrnet-tiny"}}
    study = write_study(tmp_path, protocol="2.4", table=more, further=["third"])
    given = ["--study", str(study), "--arm", "tiny", "--out", f"{small_study}/out", "--dry-run"]
    assert scripts.run.main([*given, "--variant", "plain", "third"]) == 0
    assert "to train     2 of them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--arm", "tinny"], "unknown arm 'tinny'; did you mean tiny?"),
        (["--variant", "plane"], "unknown variant 'plane'; did you mean plain, gated?"),
        (["--seeds", "0"], "--seeds 0: give a number from 1 to 16"),
        (["--seeds", "-1"], "--seeds -1: give a number from 1 to 16"),
        (["--seeds", "17"], "--seeds 17: give a number from 1 to 16"),
        (["--jobs", "0"], "--jobs 0: give a number from 1 to 64"),
        (["--study", "nowhere.yaml"], "cannot read the study file nowhere.yaml"),
    ],
)
def test_unknown_words_are_refused_in_one_line(
    tmp_path: Path,
    scripts: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    said: str,
) -> None:
    write_study(tmp_path)
    assert scripts.run.main(words(tmp_path, *given)) == 2
    assert_one_line(capsys, said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"lr": 0.01}, "the recipes of plain and gated differ in lr: 0.04 and 0.01; variants may"),
        ({"initialization": "scenes-{model}"}, "differ in initialization: 'kaiming' and "),
        ({"epoch": 3}, "unknown key 'epoch'; did you mean epochs"),
        ({"model_options": {"gate_fom": "paper"}}, "unknown model option gate_fom; did you mean"),
    ],
)
def test_variants_that_differ_in_more_than_the_network_are_refused(
    tmp_path: Path,
    scripts: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    variant: dict[str, Any],
    said: str,
) -> None:
    write_study(tmp_path, table={**VARIANTS, "gated": {**VARIANTS["gated"], **variant}})
    assert scripts.run.main(words(tmp_path, "--dry-run")) == 2
    assert_one_line(capsys, said)


def test_a_start_that_names_the_network_is_no_common_start(
    tmp_path: Path, scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, recipe={"initialization": "scenes-{model}"})
    assert scripts.run.main(words(tmp_path, "--dry-run")) == 2
    assert_one_line(capsys, "'scenes-hrnetv2-tiny' and 'scenes-gsto-hrnet-tiny'")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "must be a mapping"),
        ("a: [", "is not YAML"),
        ("protocol: '1'\nvariants: {}\narms: {}", "the protocol is '1'; write MAJOR.MINOR"),
        ("protocol: '1.0'\nvariants: {}", "the study file lacks 'arms'"),
        ("protocol: '1.0'\nvariants: {}\narms: {tiny: 3}", "arm tiny must be a mapping"),
        ("protocol: 1.0\nvariants: {}\narms: {}", "protocol is 1.0, which is of the wrong type"),
    ],
)
def test_a_file_that_is_not_a_study_is_refused(
    tmp_path: Path,
    scripts: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    content: str,
    said: str,
) -> None:
    (tmp_path / "study.yaml").write_text(content)
    assert scripts.run.main(words(tmp_path)) == 2
    assert_one_line(capsys, said)


def test_a_folder_that_is_taken_is_refused(
    tmp_path: Path, scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    assert scripts.run.main(words(tmp_path, "--resume")) == 2
    assert_one_line(capsys, "holds no study.yaml, so no study")
    given = ["--out", str(tmp_path / "new"), "--results", str(tmp_path / "out")]
    assert scripts.run.main([*words(tmp_path), *given]) == 2
    assert_one_line(capsys, "holds no study.yaml, so no study")
    (tmp_path / "out" / "letter.txt").unlink()
    (tmp_path / "out").rmdir()
    (tmp_path / "out").write_text("dear")
    assert scripts.run.main(words(tmp_path)) == 2
    assert_one_line(capsys, "is a file; give a folder")


@pytest.mark.slow
def test_runs_of_an_earlier_start_need_resume(
    small_study: Path, scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scripts.run.main(words(small_study)) == 2
    assert_one_line(capsys, "is not empty; --resume goes on with it")


def test_two_starts_do_not_work_in_one_folder(tmp_path: Path, scripts: SimpleNamespace) -> None:
    arm = scripts.arms.load_arm(write_study(tmp_path), "tiny")
    places = scripts.places.Places(arm, tmp_path / "out", tmp_path / "results")
    with places.held(places.out) as descriptor:
        # A process that outlives its parent goes on holding the folder.
        child = subprocess.Popen(["sleep", "600"], pass_fds=(descriptor,))
        with (
            pytest.raises(GstoVizError, match="another start are at work"),
            places.held(places.out),
        ):
            pass
    with pytest.raises(GstoVizError, match="another start are at work"), places.held(places.out):
        pass
    child.kill()
    child.wait()
    with places.held(places.out):
        pass


@pytest.mark.slow
def test_a_run_that_diverges_is_listed_and_the_rest_goes_on(
    tmp_path: Path, scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, recipe={"lr": 1e30, "warmup_steps": 0}, seeds=1)
    given = words(tmp_path, "--variant", "plain", "--seeds", "2", "--quiet")
    assert scripts.run.main(given) == 3
    said = capsys.readouterr().out
    assert "2 runs: 2 diverged" in said
    assert re.search(r"diverged: plain-seed1: .*(the loss is|is not finite)", said)
    # It is not tried again, and the results keep it.
    logs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/logs/*")}
    assert scripts.run.main([*given, "--resume"]) == 3
    assert scripts.run.main([*given, "--measure"]) == 3
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/logs/*")} == logs
    runs = pd.read_csv(tmp_path / "results" / "tiny" / "runs.csv")
    assert runs["status"].tolist() == ["diverged", "diverged"]
    assert runs["sha256"].isna().all()


@pytest.mark.slow
def test_a_stop_reaches_every_process(tmp_path: Path, scripts: SimpleNamespace) -> None:
    """One task is done, two are under way when SIGTERM comes, and the last never starts."""
    code = (
        "import signal, sys, time\n"
        "def end(*_): open(sys.argv[1] + '.saved', 'w').close(); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(0 if sys.argv[1].endswith('a') else 600)\n"
    )
    tasks = [
        scripts.work.Task(
            name, (sys.executable, "-c", code, str(tmp_path / name)), tmp_path / f"{name}.log"
        )
        for name in "abcd"
    ]
    driver = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import json; from pathlib import Path; from work import Task, work\n"
        "tasks = [Task(n, tuple(c), Path(l)) for n, c, l in json.loads(sys.argv[2])]\n"
        "def failed(task, status): raise AssertionError(task)\n"
        "sys.exit(0 if work(tasks, jobs=2, failed=failed, what='test', quiet=True) else 130)\n"
    )
    plain = json.dumps([(t.name, t.command, str(t.log)) for t in tasks])
    process = subprocess.Popen([sys.executable, "-c", driver, str(SCRIPTS), plain])
    while not ((tmp_path / "b").exists() and (tmp_path / "c").exists()):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=300) == 130
    there = {path.name for path in tmp_path.iterdir() if path.suffix != ".log"}
    assert there == {"a", "b", "b.saved", "c", "c.saved"}


@pytest.mark.slow
def test_a_command_that_fails_ends_the_others(tmp_path: Path, scripts: SimpleNamespace) -> None:
    bad = (sys.executable, "-c", "import sys; sys.exit('no space left')")
    slow = (sys.executable, "-c", "import time; time.sleep(600)")
    tasks = [
        scripts.work.Task(name, command, tmp_path / name)
        for name, command in (("slow", slow), ("bad", bad), ("never", slow))
    ]

    def failed(task: Any, status: int) -> None:
        raise scripts.work.failure(task, status)

    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    started = time.monotonic()
    with pytest.raises(GstoVizError, match="bad failed \\(no space left\\); see "):
        scripts.work.work(tasks, jobs=2, failed=failed, what="test", quiet=True)
    assert time.monotonic() - started < 300
    assert not (tmp_path / "never").exists()
    assert signal.getsignal(signal.SIGINT) is before


def real_study(scripts: SimpleNamespace, arm: str) -> Any:
    return scripts.arms.load_arm(SCRIPTS / "study.yaml", arm, "PATH")


@pytest.mark.parametrize(
    ("arm", "usual"),
    [
        ("scenes", ["hrnetv2", "deep-supervision", "gfm", "gsto-released", "gsto-paper"]),
        ("decorrelated", ["hrnetv2", "gsto-released", "gsto-paper"]),
        ("camvid", ["hrnetv2", "deep-supervision", "gsto-released"]),
    ],
)
def test_the_arms_of_the_study(scripts: SimpleNamespace, arm: str, usual: list[str]) -> None:
    loaded = real_study(scripts, arm)
    runs = loaded.runs(None, None)
    seeds = 3 if arm == "camvid" else 4
    assert [run.name for run in runs] == [
        f"{name}-seed{seed}" for seed in range(1, seeds + 1) for name in usual
    ]
    assert "PATH" not in json.dumps(loaded.record())


def test_the_switches_are_what_the_variants_are_called(scripts: SimpleNamespace) -> None:
    from gsto_viz.models import build_model

    recipes = real_study(scripts, "scenes").recipes
    found = {}
    for name, recipe in recipes.items():
        taps = build_model(recipe.model, **recipe.model_options).taps().values()
        gates = [tap.name for tap in taps if tap.kind == "gate"]
        heads = [tap.name for tap in taps if tap.name.startswith("head.stage")]
        found[name] = (
            sum("[" in gate for gate in gates),
            [gate for gate in gates if "[" not in gate],
            heads,
        )
    both, heads = ["transition2.gate", "transition3.gate"], ["head.stage2", "head.stage3"]
    assert found == {
        "hrnetv2": (0, [], []),
        "deep-supervision": (0, [], heads),
        "gfm": (4 + 9 + 16, [], []),
        "gsto-released": (4 + 9 + 16, both, heads),
        "gsto-paper": (4 + 9 + 16, both, heads),
        "supervised-gtm": (0, both, heads),
        "unsupervised-gtm": (0, both, []),
    }


def test_the_plan_of_the_study_is_printed(
    scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = ["--arm", "scenes", "--seeds", "1", "--dry-run", "--out", str(tmp_path / "out")]
    assert scripts.run.main([*given, "--results", str(tmp_path / "results")]) == 0
    said = capsys.readouterr().out
    assert "runs         5 (variants x seeds: 5 x 1), seed by seed" in said
    assert "5 of them, 800 steps each, 4000 in all" in said
    assert not list(tmp_path.iterdir())


def test_camvid_needs_its_folder(
    scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GSTO_VIZ_CAMVID", raising=False)
    assert scripts.run.main(["--arm", "camvid", "--dry-run"]) == 2
    assert_one_line(capsys, "arm camvid needs CamVid; give its folder with --camvid PATH")


def test_the_readme_states_what_the_study_file_says(scripts: SimpleNamespace) -> None:
    text = (SCRIPTS / "README.md").read_text(encoding="utf-8")
    arms: ModuleType = scripts.arms
    study = arms.read_mapping(SCRIPTS / "study.yaml", "the study")
    assert f"**Protocol {study['protocol']}.**" in text
    for name, values in study["arms"].items():
        (row,) = re.findall(rf"^\| `{name}` \| .*", text, flags=re.M)
        assert f"| {values['seeds']} |" in row
        assert f"{values['floor']} %" in text
    for name in study["variants"]:
        assert re.search(rf"^\| `{name}` \| ", text, flags=re.M)
