"""A method is one function and one row: toys from a file of their own, to where they show."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from gsto_viz import words
from gsto_viz.attribution import zero_baseline
from gsto_viz.attribution.areas import RankedRegion
from gsto_viz.attribution.explain import explain_target
from gsto_viz.attribution.targets import Target
from gsto_viz.cli import main
from gsto_viz.errors import GstoVizError
from gsto_viz.plots.attribution import figure_attribution, figure_taps
from gsto_viz.words import METHODS, Method

SOURCE = '''
import torch

def centred(asked, layers, settings):
    """The features of each tap, minus their mean over the map."""
    seen = {}
    handles = [
        layer.register_forward_hook(lambda m, i, output, name=name: seen.update({name: output}))
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        asked.score(asked.image, torch.arange(len(asked.image)))
    for handle in handles:
        handle.remove()
    return [seen[name] - seen[name].mean(dim=(2, 3), keepdim=True) for name in layers]

def light(asked, layers, settings):
    return [asked.image * settings.steps]

def halves(found):
    return found.psi[:, 0] / 2, float(found.present[0] - found.absent[0]) / 2

def half_maps(seen, baseline, classes):
    from gsto_viz.attribution import shapley_maps
    return shapley_maps(seen, baseline, classes) / 2
'''
ROWS = (
    Method("toy", "toy", "toy units", "{methods}: a toy.", "taps", "toy_methods:centred"),
    Method("bright", "brightness", "toy lux", "{methods}: light.", "image", "toy_methods:light"),
    Method(
        "half",
        "half of Shapley",
        "half a logit",
        "Halves: half of the Shapley maps.",
        "head",
        "toy_methods:halves",
        maps="toy_methods:half_maps",
        starts_at="baseline",
    ),
)


@pytest.fixture(name="register")
def _register(tmp_path, monkeypatch):
    (tmp_path / "toy_methods.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for row in ROWS:
        monkeypatch.setitem(METHODS, row.key, row)
    yield
    sys.modules.pop("toy_methods", None)


def text_of(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


def options(files, out, *more):
    photo = [str(files / "tiny.safetensors"), str(files / "photo.png"), "--target", "pixel:20,30"]
    return ["attribute", *photo, "--out", str(out), "--quiet", *more]


def test_help_names_it(register, capsys):
    with pytest.raises(SystemExit):
        main(["attribute", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "conductance, toy at the branches" in said
    assert "smooth_grad, bright on the image" in said


def test_it_is_explained_printed_and_drawn(register, toy, view):
    model, image, target = toy.network(), toy.picture(), Target(RankedRegion("car"))
    found = explain_target(
        model,
        image,
        view,
        target,
        [zero_baseline(model)],
        methods=["toy", "bright"],
        taps=["stage2.branch0"],
        steps=3,
        sanity=False,
    )
    with np.errstate(all="raise"):
        np.testing.assert_allclose(
            found.taps.maps["bright/input"], 3 * image[0].sum(0).numpy(), rtol=1e-6
        )
    for name in [f"toy/stage4.branch{r}" for r in range(4)]:
        assert found.maps[name].mean() == pytest.approx(0, abs=1e-5)
    for r in range(4):
        np.testing.assert_allclose(
            2 * found.maps[f"half/zero/branch{r}"], found.maps[f"shapley/zero/branch{r}"], rtol=1e-6
        )
    rows = found.branches.set_index("method")
    assert rows.loc["half", "sum"] == pytest.approx(rows.loc["half", "expected"])
    assert rows.loc["half", "sum"] == pytest.approx(rows.loc["shapley", "sum"] / 2)
    assert rows.loc["half", "infidelity"] > 0
    assert pd.isna(rows.loc["toy", "expected"])
    assert pd.isna(rows.loc["toy", "infidelity"])
    assert set(found.taps.table["method"]) == {"toy", "bright"}
    photo = np.zeros((*view.size, 3), dtype=np.uint8)
    texts = text_of(
        figure_attribution(
            photo,
            found.outline,
            found.maps,
            found.map_strides,
            {"branches": found.branches, "paths": found.paths},
            strides=found.strides,
            title="an object",
        )
    )
    assert "toy units" in texts
    assert "half a logit (absent: zero)" in texts
    drawn = figure_taps(
        photo, found.outline, found.taps.maps, found.taps.strides, title="an object"
    )
    texts = text_of(drawn)
    assert "toy units" in texts
    assert "toy lux" in texts


def test_the_command_runs_checks_and_draws_it(register, files, tmp_path, capsys):
    out = tmp_path / "out"
    given = ("--method", "toy", "--method", "bright", "--tap", "stage2.branch0")
    assert main(options(files, out, *given)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line[0] for line in lines if line[0] in ("toy", "half", "bright")] == [
        "half", "half", "toy", "toy", "bright",
    ]  # fmt: skip
    assert set(pd.read_csv(out / "taps.csv")["method"]) == {"toy", "bright"}
    with np.load(out / "maps.npz") as maps:
        assert {"toy/stage4.branch3", "toy/stage2.branch0", "bright/input"} <= set(maps)


def test_without_its_row_it_is_unknown(files, tmp_path, capsys):
    assert main(options(files, tmp_path / "out", "--method", "toy")) == 2
    assert "unknown method 'toy'; choose activation" in capsys.readouterr().err


def test_every_row_names_a_function():
    for row in METHODS.values():
        assert callable(words.load_function(row.function))
        assert not row.maps or callable(words.load_function(row.maps))
    with pytest.raises(GstoVizError, match="unknown method 'lime'; choose shapley"):
        words.find_method("lime", "head")
