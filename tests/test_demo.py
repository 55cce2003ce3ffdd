"""The demo: two tiny networks through the whole way, on real scenes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gsto_viz.calibrate import calibrate
from gsto_viz.commands import demo as demo_command
from gsto_viz.data import CAMVID_CLASSES, load_data
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.demo import check_free, compare_on, headline, octave_span, summary, write_demo
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import evaluate
from gsto_viz.inspection import inspect_image
from gsto_viz.models import ModelInfo, build_model, initialize, load_model, save_checkpoint
from gsto_viz.regions import region_table
from gsto_viz.torch_utils import image_to_tensor

DATA = "scenes:count=3,seed=5,size=96x160"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random tiny networks with gains, saved as a user's checkpoints would be."""
    folder = tmp_path_factory.mktemp("weights")
    scenes = SceneDataset(count=2, seed=0, size=(96, 160), split="train")
    images = [image_to_tensor(scenes[i].image).unsqueeze(0) for i in range(2)]
    paths = {}
    for key, name in (("A", "hrnetv2-tiny"), ("B", "gsto-hrnet-tiny")):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = build_model(name, num_classes=11)
            initialize(model, "kaiming")
        info = ModelInfo(name, name, CAMVID_CLASSES, gains=calibrate(model, images))
        paths[key] = folder / f"{name}.safetensors"
        save_checkpoint(paths[key], model, info)
    return paths


@pytest.fixture(scope="module")
def models(checkpoints):
    return {key: load_model(path) for key, path in checkpoints.items()}


@pytest.fixture(scope="module")
def comparison(models):
    return compare_on(models, load_data(DATA))


def test_inspection_shows_what_a_plain_forward_computes(models):
    image = load_data(DATA)[0].image
    for key, model in models.items():
        seen = inspect_image(model, image)
        with torch.no_grad():
            batch = image_to_tensor(image).unsqueeze(0)
            branches, _ = model.branches(batch)
            logits = torch.nn.functional.interpolate(
                model(batch).logits, size=image.shape[:2], mode="bilinear"
            )
        assert np.array_equal(seen.prediction, logits[0].argmax(0).numpy())
        assert seen.strides == (4, 8, 16, 32)
        for r, branch in enumerate(branches):
            features = branch[0].double().numpy()
            gains = model.info.gains[f"stage4.branch{r}"]
            parts = zip(features, gains.sigma, gains.live, strict=True)
            fixed = [f / sigma for f, sigma, live in parts if live]
            np.testing.assert_allclose(seen.raw[r], features.mean(axis=0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(seen.activity[r], np.mean(fixed, axis=0), rtol=1e-5)
        assert (seen.gate_range is None) == (key == "A")
    # 4 + 2 * 9 + 16 fusion gates and those of transitions 2 and 3.
    gates = inspect_image(models["B"], image).gates
    assert len(gates) == 40
    assert all(g.min() >= 0.5 and g.max() <= 1 for g in gates.values())


def test_inspection_leaves_flags_and_hooks_as_they_were(models):
    model = models["B"]
    model.train()
    model.stage2.eval()
    before = [m.training for m in model.modules()]
    try:
        inspect_image(model, load_data(DATA)[0].image)
        with pytest.raises(GstoVizError, match="at least 32x32"):
            inspect_image(model, np.zeros((20, 40, 3), np.uint8))
        assert [m.training for m in model.modules()] == before
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    finally:
        model.eval()


def test_inspection_needs_gains(models):
    with pytest.raises(GstoVizError, match="no per-channel gains"):
        inspect_image(models["A"], load_data(DATA)[0].image, gains={})
    with pytest.raises(GstoVizError, match="not loaded from a checkpoint"):
        inspect_image(build_model("hrnetv2-tiny"), load_data(DATA)[0].image)


def test_tables_and_scores_are_those_of_each_image(comparison, models):
    data = load_data(DATA)
    for key, model in models.items():
        table = comparison.tables[key]
        for i in range(3):
            sample = data[i]
            one = region_table(
                sample.labels,
                inspect_image(model, sample.image).activity,
                instances=sample.instances,
                image=sample.id,
            )
            rows = table[table["image"] == sample.id].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, one)
        assert comparison.scores[key].miou == evaluate(model, data).scores.miou


def test_sizes_are_means_of_image_means(comparison):
    frame = comparison.sizes["B"]
    table = comparison.tables["B"]
    for row in frame.itertuples():
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
        assert row.n_images == len(per_image)


def test_example_is_the_image_with_the_widest_range_of_sizes(comparison):
    spans = {image: octave_span(rows) for image, rows in comparison.tables["A"].groupby("image")}
    assert spans[comparison.sample.id] == max(spans.values())


def test_headline_has_a_row_for_each_octave(comparison):
    text = headline(comparison)
    octaves = set(comparison.sizes["A"]["octave"]) | set(comparison.sizes["B"]["octave"])
    assert sum(" to " in line for line in text.splitlines()) == len(octaves)
    assert max(map(len, text.splitlines())) <= 100


def test_folder_appears_whole_with_the_manifest(comparison, models, tmp_path):
    files = write_demo(comparison, models, tmp_path / "out")
    names = {f.name for f in files}
    assert {"figure1.pdf", "figure1.png", "sizes.csv", "summary.json", "manifest.json"} <= names
    assert files[-1].name == "manifest.json"
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary(comparison)
    manifest = json.loads(files[-1].read_text())
    assert manifest["weights"]["A"]["sha256"] == models["A"].info.sha256
    assert manifest["images"] == list(load_data(DATA).ids)
    frame = pd.read_csv(tmp_path / "out/sizes.csv")
    assert set(frame["model"]) == {"A", "B"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_failure_leaves_nothing_behind_and_names_the_target(
    comparison, models, tmp_path, monkeypatch
):
    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gsto_viz.plots.save_figure", broken)
    with pytest.raises(GstoVizError, match="out: No space left on device"):
        write_demo(comparison, models, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_is_replaced_whole_or_stays(comparison, models, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_demo(comparison, models, out)
    (out / "sizes.csv").write_text("old")
    write_demo(comparison, models, out, overwrite=True)
    assert (out / "sizes.csv").read_text() != "old"
    (out / "sizes.csv").write_text("old")
    monkeypatch.setattr("gsto_viz.demo.summary", lambda _: {"nan": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_demo(comparison, models, out, overwrite=True)
    assert (out / "sizes.csv").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(GstoVizError, match="not empty"):
        check_free(tmp_path, overwrite=False)
    with pytest.raises(GstoVizError, match=r"holds 'thesis\.tex', which this command never writes"):
        check_free(tmp_path, overwrite=True)
    with pytest.raises(GstoVizError, match="is no folder"):
        check_free(tmp_path / "thesis.tex", overwrite=True)


def test_command_writes_and_prints(checkpoints, tmp_path, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("--quiet", action="store_true")
    demo_command.add_arguments(parser)
    words = [f"--model={key}={path}" for key, path in checkpoints.items()]
    out = tmp_path / "demo"
    args = parser.parse_args([*words, "--data", DATA, "--out", str(out), "--device", "cpu"])
    assert demo_command.run(args) == 0
    shown = capsys.readouterr().out
    assert "Mean percentile response" in shown
    assert str(out / "manifest.json") in shown
    args = parser.parse_args([*words, "--data", DATA, "--out", str(tmp_path / "e"), "--json", "-"])
    assert demo_command.run(args) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "summary.json").read_text())
    for wrong, message in (
        (["--model", "C=x"], "write A=CHECKPOINT"),
        (["--model", "A=x"], "--model B=CHECKPOINT is missing"),
        (["--model", "A=x", "--model", "A=y"], "given twice"),
    ):
        args = parser.parse_args([*wrong, "--out", str(tmp_path / "new")])
        with pytest.raises(GstoVizError, match=message):
            demo_command.run(args)
    assert not (tmp_path / "new").exists()
