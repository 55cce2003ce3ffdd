"""``analyze --atlas`` of an equalized network: what equalizers do, the word, the figure."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from gsto_viz.data import load_data
from gsto_viz.models import ModelInfo, build_model, initialize
from gsto_viz.models.equalizer import noise_kept, sites
from gsto_viz.report import analyze
from gsto_viz.report.catalogue import write_figures
from gsto_viz.report.page import page
from gsto_viz.report.text import headline_text
from gsto_viz.stats import kept_variance
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.train.measures import equalize

TRAINED, OTHER = (f"scenes:count=4,seed={seed},size=64x96" for seed in (3, 9))
OCTAVES = 1e-4
"""Mean and deviation are float32, so that the variance behind them is 1 to about 1e-6."""


@pytest.fixture(scope="module")
def network():
    data = load_data(TRAINED)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build_model("gsto-hrnet-tiny", num_classes=len(data.classes), equalized=True)
        initialize(model, "kaiming")
    model.info = ModelInfo("mine", "gsto-hrnet-tiny", data.classes)
    equalize(model.eval(), data)
    return model


@pytest.fixture(scope="module")
def reports(network, tmp_path_factory):
    """By data, the report: that of the estimate, and another."""
    out = tmp_path_factory.mktemp("equalized")
    return {
        spec: analyze({"E": network}, load_data(spec), out / name, atlas=True)
        for spec, name in ((TRAINED, "trained"), (OTHER, "other"))
    }


def leaving(model, data, *, entering=False):
    """Stack what leaves (or enters) each equalizer over all images, as float64."""
    kept = {name: [] for name in sites(model)}

    def keep(name):
        def note(_, given, out):
            kept[name].append((given[0] if entering else out).double().numpy().ravel())

        return note

    hooks = [one.register_forward_hook(keep(name)) for name, one in sites(model).items()]
    with torch.no_grad():
        for index in range(len(data)):
            model(image_to_tensor(data[index].image)[None])
    for hook in hooks:
        hook.remove()
    return {name: np.concatenate(each) for name, each in kept.items()}


def test_on_the_images_of_the_estimate_nothing_is_unequal_behind_them(reports):
    heads = reports[TRAINED].model("E")["equalizers"]
    assert [one["head"] for one in heads] == [
        "transition2.predictor",
        "transition3.predictor",
        "head",
    ]
    for one in heads:
        assert one["disequilibrium"] > 0.1
        assert one["disequilibrium_after"] == pytest.approx(0, abs=OCTAVES)
        for mean, variance in zip(one["mean_after"], one["variance_after"], strict=True):
            assert mean.value == pytest.approx(0, abs=1e-5)
            assert variance.value == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("spec", [TRAINED, OTHER])
def test_before_and_after_are_those_of_numpy(reports, network, spec):
    data, heads = load_data(spec), reports[spec].model("E")["equalizers"]
    before, after = (leaving(network, data, entering=entering) for entering in (True, False))
    for one in heads:
        for r, site in enumerate(one["sites"]):
            assert one["variance"][r].value == pytest.approx(before[site].var(), rel=1e-6)
            assert one["variance_after"][r].value == pytest.approx(after[site].var(), rel=1e-6)
            assert one["mean_after"][r].value == pytest.approx(after[site].mean(), abs=1e-6)
        for key, values in (("disequilibrium", before), ("disequilibrium_after", after)):
            variances = [values[site].var() for site in one["sites"]]
            spread = np.log2(max(variances) / min(variances))
            assert one[key] == pytest.approx(spread, abs=1e-6)
    main = heads[-1]
    assert main["disequilibrium"] == pytest.approx(
        reports[spec].model("E")["atlas"]["disequilibrium"].value, rel=1e-6
    )
    assert spec == TRAINED or main["disequilibrium_after"] > 10 * OCTAVES


def test_it_says_that_it_is_equalized_wherever_it_is_named(reports):
    report = reports[OTHER]
    manifest = json.loads((report.folder / "manifest.json").read_text())
    assert manifest["models"]["E"]["network"] == "gsto-hrnet-tiny, equalized"
    assert report.names == {"E": "mine, equalized"}
    text, html = headline_text(report), page(report, [])
    after = report.model("E")["equalizers"][-1]["disequilibrium_after"]
    for said in (text, html):
        assert f"{after:.2f} after." in said
        assert "transition2.predictor.equalizers.0" in said
        assert "gsto-hrnet-tiny, equalized" in html
    assert "E = mine, equalized" in text
    assert "Scale equalizers of E" in html


def test_the_figure_shows_law_noise_and_branches(reports, tmp_path):
    report = reports[OTHER]
    (one,) = write_figures(report, formats=("png",), only=["enlargement"])
    assert one.reason is None
    table = pd.read_csv(one.files[-1], keep_default_na=True)
    assert table["series"].value_counts().to_dict() == {"law": 3, "white noise": 3, "branch": 3}
    law, noise, own = (table[table["series"] == s] for s in ("law", "white noise", "branch"))
    assert law["factor"].to_list() == own["factor"].to_list() == [2, 4, 8]
    for row in law.itertuples():
        size = (16 // row.factor, 24 // row.factor)
        assert (row.height, row.width) == size
        assert row.kept == pytest.approx(kept_variance(int(row.factor), size))
    assert noise["kept"].to_numpy() == pytest.approx(law["kept"].to_numpy(), rel=0.1)
    assert (noise["low"] < noise["high"]).all()
    summary = pd.DataFrame(report.model("E")["enlargement"]).iloc[1:]
    np.testing.assert_allclose(own["kept"], summary["kept"])
    np.testing.assert_allclose(own["predicted"], own["kept"], rtol=0.25)
    for value in own["kept"]:
        assert f"{value:.3f}" in one.alt


def test_noise_of_one_seed_is_the_same_and_follows_the_law():
    drawn = noise_kept(2, (32, 32), draws=4, seed=1)
    assert drawn == pytest.approx(noise_kept(2, (32, 32), draws=4, seed=1), abs=0)
    assert not np.array_equal(drawn, noise_kept(2, (32, 32), draws=4, seed=2))
    assert drawn.mean() == pytest.approx(kept_variance(2, (32, 32)), rel=0.02)
