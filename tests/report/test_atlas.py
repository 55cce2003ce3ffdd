"""``analyze --atlas``: features of real branches against the same numbers made by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from gsto_viz.capture import Capture
from gsto_viz.cli import main
from gsto_viz.models import save_checkpoint
from gsto_viz.regions import find_regions
from gsto_viz.report import analyze
from gsto_viz.report.page import page
from gsto_viz.torch_utils import image_to_tensor

TAPS = "stage4.branch*"


@pytest.fixture(scope="module")
def described(networks, scenes, tmp_path_factory):
    return analyze(networks, scenes, tmp_path_factory.mktemp("atlas") / "run", atlas=True)


def features_by_hand(model, data):
    """Per image, the features of every branch."""
    for index in range(len(data)):
        with Capture(model, TAPS, reduce="none") as maps, torch.no_grad():
            model(image_to_tensor(data[index].image)[None])
        yield [maps[name] for name in maps]


def test_variance_and_redundancy_are_those_of_the_features(networks, scenes, described):
    model = networks["B"].eval()
    found = described.model("B")["atlas"]
    ups, ratios = [[] for _ in range(4)], []
    stacks = [[] for _ in range(4)]
    for features in features_by_hand(model, scenes):
        size = features[0].shape[-2:]
        for r, one in enumerate(features):
            up = F.interpolate(one, size=size, mode="bilinear", align_corners=False)
            ups[r].append(up.double().ravel())
            stacks[r].append(one[0].double())
    variances = [float(torch.cat(each).var(correction=0)) for each in ups]
    for r, expected in enumerate(variances):
        assert found["variance"][r].value == pytest.approx(expected, rel=1e-5)
        assert found["variance"][r].n_images == 12
    spread = np.log2(max(variances) / min(variances))
    assert found["disequilibrium"].value == pytest.approx(spread, rel=1e-5)
    for r, stack in enumerate(stacks):
        maps = torch.stack(stack)
        maps = maps[..., : maps.shape[2] // 2 * 2, : maps.shape[3] // 2 * 2]
        centred = maps - maps.mean(dim=(0, 2, 3), keepdim=True)
        held = 4 * (F.avg_pool2d(centred, 2) ** 2).sum(dim=(0, 2, 3))
        total = (centred**2).sum(dim=(0, 2, 3))
        varies = total > 1e-9 * (maps**2).sum(dim=(0, 2, 3))
        ratios.append(float((held / total)[varies].mean()))
        one = found["redundancy"][r]
        assert one.value == pytest.approx(ratios[-1], rel=1e-4)
        assert one.low <= one.value <= one.high
        # Smooth areas are mostly held by the next coarser grid.
        assert r > 0 or found["picture"][r].value > 0.8
        assert 0 < found["picture"][r].value < 1


def test_one_object_of_an_image_stands_for_it_in_all_networks(networks, scenes, described):
    rows = pd.read_parquet(described.folder / "atlas.parquet")
    areas = {}
    for key, model in networks.items():
        own = rows[(rows["model"] == key) & (rows["branch"] == 0) & (rows["channel"] >= 0)]
        for index, features in enumerate(features_by_hand(model.eval(), scenes)):
            sample = scenes[index]
            regions = find_regions(sample.labels, sample.instances)
            vector = own[own["image"] == sample.id].sort_values("channel")["object"].to_numpy()
            pixels = features[0][0].numpy().repeat(4, 1).repeat(4, 2)
            candidates = [
                number
                for number in np.flatnonzero(regions.qualifies) + 1
                if np.allclose(pixels[:, regions.ids == number].mean(axis=1), vector, atol=1e-5)
            ]
            assert len(candidates) == 1
            areas.setdefault(sample.id, set()).add(candidates[0])
    assert all(len(numbers) == 1 for numbers in areas.values())
    found = described.model("A")["atlas"]
    assert found["objects"] == len(scenes)
    np.testing.assert_allclose(np.diag(found["cka"]), 1)
    np.testing.assert_allclose(found["cka"], np.transpose(found["cka"]))


def test_everything_else_stays_and_the_page_shows_it(networks, scenes, described, tmp_path):
    plain = analyze(networks, scenes, tmp_path / "plain")
    for key in "AB":
        described_only = ("atlas", "enlargement")
        summary = {k: v for k, v in described.model(key).items() if k not in described_only}
        assert summary == plain.model(key)
    assert not (tmp_path / "plain/atlas.parquet").exists()
    assert not (tmp_path / "plain/enlarged.parquet").exists()
    assert not (described.folder / "equalizers.parquet").exists()
    shown = page(described, [])
    for text in ("Features of A", "Features of B", "CKA with /32", "Disequilibrium, log2"):
        assert text in shown
    assert "Features of" not in page(plain, [])


def test_the_command_prints_a_table_and_resumes(networks, tmp_path, capsys):
    model = networks["A"]
    save_checkpoint(model, tmp_path / "a.safetensors", info=model.info)
    out = tmp_path / "run"
    words = ["analyze", f"--model=A={tmp_path / 'a.safetensors'}", "--out", str(out)]
    words += ["--data", "scenes:count=3,seed=5,size=96x160", "--device", "cpu", "--quiet"]
    assert main([*words, "--atlas"]) == 0
    shown = capsys.readouterr().out
    assert "redundancy [95 %]" in shown
    assert "Disequilibrium" in shown
    assert "CKA of 3 objects" in shown
    assert json.loads((out / "manifest.json").read_text())["atlas"] is True
    assert main([*words, "--resume"]) == 2
    assert "begun with atlas=True" in capsys.readouterr().err
    # A folder from before the option has its default.
    settings = json.loads((out / "settings.json").read_text())
    del settings["atlas"]
    (out / "settings.json").write_text(json.dumps(settings))
    assert main([*words, "--resume"]) == 0
