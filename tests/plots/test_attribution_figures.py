"""Figures of attributions: their numbers, their scales, and no text on text."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import (
    alt_text,
    branch_size_data,
    figure_attribution,
    figure_branch_size,
    figure_drops,
    figure_receptive_fields,
)
from gsto_viz.plots.attribution import figure_taps, symmetric_maps
from gsto_viz.plots.attribution_paths import cell_text, edge_matrix, half_inside, interaction_words
from gsto_viz.stats import Estimate, Tuning

STRIDES = (4, 8, 16, 32)
SIZE = (64, 96)


def inputs(gated=True, seed=0, **checked):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    outline = np.zeros(SIZE, dtype=np.int64)
    outline[20:40, 30:60] = 1
    maps, strides = {}, {}
    for method in ("shapley/zero", "grad_cam"):
        for r, stride in enumerate(STRIDES):
            name = f"{method}/branch{r}"
            strides[name] = 4 if method.startswith("shapley") else stride
            grid = tuple(-(-n // strides[name]) for n in SIZE)
            maps[name] = rng.normal(size=grid).astype(np.float32)
    rows = [
        {"method": "shapley", "baseline": name, **{f"branch_{r}": rng.normal() for r in range(4)}}
        for name in ("mean of 64 images", "zero", "another image")
    ]
    paths = [
        {"place": f"stage4.m0.{kind}[{s}->{t}]", "kind": kind, "source": s, "target": t,
         "drop": 10 * s + t}
        for kind in (("transfer", "gate") if gated else ("transfer",))
        for s in range(4) for t in range(4)
    ]  # fmt: skip
    paths.append({"place": "transition1.transfer[0->1]", "kind": "transfer", "source": 0,
                  "target": 1, "drop": 99.0})  # fmt: skip
    tables = {"branches": pd.DataFrame(rows), "paths": pd.DataFrame(paths), **checked}
    return image, outline, maps, strides, tables


@pytest.mark.parametrize("gated", [True, False])
def test_the_figure_of_a_target(gated, check_text, all_text):
    figure = figure_attribution(*inputs(gated), strides=STRIDES, title="margin of region:car")
    check_text(figure)
    words = all_text(figure)
    assert words.count("stride 16") == 2
    assert ("one gate closed: drop" in words) == gated
    assert "Shapley values (logits) with zero for absent branches" in alt_text(figure)


def checks(names, cells=400):
    """Planted checks: random weights leave 0.25, maps move 0.5, the first method foretells."""
    rows = [
        {"check": f"rank correlation, random from {part} on", "subject": name, "value": value}
        for part, value in (("head", 0.75), ("stem", 0.25)) for name in names
    ]  # fmt: skip
    rows += [{"check": "sensitivity (max)", "subject": name, "value": 0.5} for name in names]
    rows.append({"check": "infidelity, cells removed", "subject": names[0], "value": 0.125})
    frame = pd.DataFrame(rows)
    correlated = frame["check"].str.startswith("rank correlation")
    return frame.assign(cells=pd.Series(cells, frame.index, dtype="Int64").where(correlated))


def caption(figure, all_text):
    """The longest text of a figure on one line."""
    return max(all_text(figure), key=len).replace("\n", " ")


def test_over_few_cells_a_check_says_over_how_many(check_text, all_text):
    names = [f"shapley/branch{r}" for r in range(4)]
    for cells, words in ((15, "random weights 0.25, n = 15"), (16, "random weights 0.25")):
        planted = checks(names, cells)
        figure = figure_attribution(*inputs(sanity=planted), strides=STRIDES, title="a target")
        check_text(figure)
        assert sum(text.split("\n")[0] == words for text in all_text(figure)) == 4
        assert "n: over so few cells, below 16," in caption(figure, all_text)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ("margin", "margin of the target"),
        ("mean", "mean logit of the target's class"),
        ("sum", "sum of the logits of the target's class"),
    ],
)
def test_the_caption_says_which_score_each_part_explains(score, words, check_text, all_text):
    figure = figure_attribution(*inputs(), strides=STRIDES, title="a target", score=score)
    check_text(figure)
    text = caption(figure, all_text)
    assert f"Bars: Shapley values of the {words}, by" in text
    assert f"Matrices: drop of the {words} when" in text
    assert f"red speaks for a greater {words}," in text
    assert "Shapley maps: red raises the margin of a cell" in text
    other = f"These maps explain the margin, not the score that was asked: the {words}."
    assert (other in text) == (score != "margin")
    with pytest.raises(GstoVizError, match="unknown score 'max'; choose margin, mean, sum"):
        figure_attribution(*inputs(), strides=STRIDES, title="a target", score="max")


@pytest.mark.parametrize("method", ["activation", "saliency", "smooth_grad", "conductance"])
def test_red_raises_a_score_only_where_a_map_knows_one(method, check_text, all_text):
    figure = figure_taps(*tap_inputs({"stem": 4}, (method,)), title="mean of car", score="mean")
    check_text(figure)
    text = caption(figure, all_text)
    raises = "Conductance: red raises the mean logit of the target's class, blue lowers it."
    assert (raises in text) == (method == "conductance") == ("red raises" in text)
    assert ("it knows neither target nor score" in text) == (method == "activation")
    assert ("no sign; the redder, the more" in text) == (method in ("saliency", "smooth_grad"))
    assert "Shapley" not in text


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_numbers_in_cells_keep_their_digits_and_fit(digits):
    rng = np.random.default_rng(0)
    values = rng.choice([-1, 1], 2000) * 10 ** rng.uniform(-30, 30, 2000)
    for value in (*values, 0.0996, 99.96, 999.7, 9999.6, -0.00099996, 0.001, 1e4, -0.004):
        text = cell_text(value, digits)
        assert float(text) == pytest.approx(value, rel=0.5001 * 10.0 ** (1 - digits))
        assert len(text.lstrip("-")) <= digits + 5
    assert [cell_text(v) for v in (0.0, 2.7, -0.004, 0.00071, 1.0, 123.4, 66410.0)] == [
        "0", "2.7", "-0.004", "7.1e-4", "1", "123", "6.6e4",
    ]  # fmt: skip


def test_small_drops_are_not_zero_and_bars_have_a_unit(check_text, all_text):
    given = inputs()
    given[-1]["paths"].loc[:3, "drop"] = [0.0, -0.0042, 0.00031, 1e-13]
    figure = figure_attribution(*given, strides=STRIDES, title="a target")
    check_text(figure)
    words = all_text(figure)
    assert {"-0.0042", "3.1e-4"} <= set(words)
    assert not any("e-13" in text for text in words)
    bars = [ax for ax in figure.axes if ax.get_xlabel() == "logits"]
    assert len(bars) == 2


def test_the_line_around_half_of_a_gradient():
    y, x = np.mgrid[:200, :240]
    wide, blur = 9.0, 4.0
    gradient = np.exp(-((y - 90) ** 2 + (x - 130) ** 2) / (2 * wide**2))
    blurred, level = half_inside(gradient, blur)
    # Blurring adds variances; a disc of radius s sqrt(2 ln 2) holds half of a normal distribution.
    radius = np.sqrt(2 * np.log(2) * (wide**2 + blur**2))
    assert (blurred > level).sum() == pytest.approx(np.pi * radius**2, rel=0.02)
    assert blurred[blurred > level].sum() == pytest.approx(gradient.sum() / 2, rel=0.02)


def test_a_gradient_in_one_pixel_or_alike_everywhere_can_be_drawn(check_text):
    image, outline, *_ = inputs()
    point = np.zeros(SIZE)
    point[32, 48] = 1.0
    fields = [Seen(4, (32.0, 48.0), point, 0.5), Seen(8, (32.0, 48.0), np.ones(SIZE), 60.0)]
    check_text(figure_receptive_fields(image, outline, [("a row", fields)], title="pixel:48,32"))


def test_the_checks_of_each_map_stand_below_it(check_text, all_text):
    names = [f"shapley/branch{r}" for r in range(4)]
    figure = figure_attribution(*inputs(sanity=checks(names)), strides=STRIDES, title="a target")
    check_text(figure)
    words = all_text(figure)
    assert words.count("random weights 0.25\nmoves 0.5, infidelity 0.12") == 1
    assert words.count("random weights 0.25\nmoves 0.5") == 3
    assert words.count("not checked") == 4  # Grad-CAM
    assert any("Below each map, its checks" in text.replace("\n", " ") for text in words)


def tap_inputs(taps, methods):
    """An image, a target, and planted maps of taps by method, on their grids."""
    image, outline, *_ = inputs()
    rng = np.random.default_rng(1)
    maps, strides = {}, {}
    for method in methods:
        for tap, stride in taps.items():
            grid = tuple(-(-n // stride) for n in SIZE)
            maps[f"{method}/{tap}"] = rng.normal(size=grid).astype(np.float32)
            strides[f"{method}/{tap}"] = stride
    return image, outline, maps, strides


TAPS = {"stage2.branch0": 4, "stage2.branch1": 8, "transition2.gate": 8, "stage3.m0.gate[2->0]": 16}


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize(
    ("taps", "methods"),
    [
        ({"stem": 4}, ("grad_cam",)),
        (TAPS, ("grad_cam", "integrated_gradients", "activation")),
        ({f"stage4.m0.gate[{k}->{k}]": 4 for k in range(12)}, ("conductance",)),
        ({"input": 1}, ("saliency", "smooth_grad")),
    ],
)
def test_a_panel_for_each_tap(taps, methods, checked, check_text, all_text):
    image, outline, maps, strides = tap_inputs(taps, methods)
    sanity = checks(list(maps)) if checked else None
    figure = figure_taps(image, outline, maps, strides, title="margin of car", sanity=sanity)
    check_text(figure)
    words = all_text(figure)
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == len(maps) + len(methods)
    assert words.count("input and target") == len(methods)
    assert sum("random weights 0.25" in text for text in words) == checked * len(maps)
    for ax in panels:
        assert ax.get_xlim() == (0, SIZE[1])
        assert ax.get_ylim() == (SIZE[0], 0)
    for tap in taps:
        assert tap in alt_text(figure)


def test_taps_of_one_method_have_one_scale_per_pixel():
    image, outline, maps, strides = tap_inputs(TAPS, ("integrated_gradients", "grad_cam"))
    figure = figure_taps(image, outline, maps, strides, title="x")
    drawn = [ax.images[0] for ax in figure.axes if ax.images and ax.images[0].get_cmap().name]
    signed = [one for one in drawn if one.get_array().ndim == 2]
    limits = [one.get_clim() for one in signed]
    assert len(set(limits[:4])) == len(set(limits[4:])) == 1
    assert limits[0][0] == -limits[0][1]
    for one, (name, values) in zip(signed, maps.items(), strict=True):
        area = strides[name] ** 2 if name.startswith("integrated") else 1
        np.testing.assert_allclose(one.get_array(), values / area, rtol=1e-6)
    with pytest.raises(GstoVizError, match="no maps at taps to draw"):
        figure_taps(image, outline, {}, {}, title="x")
    with pytest.raises(GstoVizError, match="stride 8 on a 64x96 image makes"):
        figure_taps(
            image, outline, {"grad_cam/stem": np.ones((3, 3))}, {"grad_cam/stem": 8}, title=""
        )


def test_one_symmetric_scale():
    maps = [np.array([[1.0, -2.0]]), np.array([[0.5, 0.25]])]
    drawn = symmetric_maps(maps, (4, 8), "x")
    assert {(m.low, m.high) for m in drawn} == {(-drawn[0].high, drawn[0].high)}
    assert 1.9 < drawn[0].high <= 2
    assert symmetric_maps([np.zeros((2, 2))], (4,), "x")[0].high == 1
    spike = np.zeros((1, 1000))
    spike[0, 0] = 3
    assert symmetric_maps([spike], (4,), "x")[0].high == 3
    with pytest.raises(GstoVizError, match="holds NaN"):
        symmetric_maps([np.array([[np.nan]])], (4,), "x")


def test_matrices_of_paths():
    paths = inputs()[-1]["paths"]
    matrix = edge_matrix(paths, "transfer", 4)
    assert matrix[3, 1] == 31
    assert matrix[0, 1] == 1  # the new branch of a transition is no edge of the fusion
    assert edge_matrix(paths[paths["kind"] == "gate"], "transfer", 4) is None


def tuned(value=0.7):
    sic = (
        Estimate(value, 0.4, 0.9, 30, 200) if value else Estimate(None, None, None, 3, 3, "too few")
    )
    one = Estimate(0.0, None, None, 1, 1)
    matrix = np.random.default_rng(0).normal(size=(4, 5))
    return Tuning(
        STRIDES, (3, 4, 5, 6, 7), matrix, (30,) * 5, (one,) * 4, one, one, (one,) * 4, one, sic
    )


def test_branch_by_size(check_text, all_text):
    both = {"A": tuned(), "B": tuned(0.3)}
    figure = figure_branch_size(both, title="Shapley values", names={"A": "plain", "B": "gated"})
    check_text(figure)
    assert any("A: plain: SIC 0.70 [0.40, 0.90]" in t.replace("\n", " ") for t in all_text(figure))
    assert {"A: plain", "B: gated"} <= {ax.get_title(loc="left") for ax in figure.axes}
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    scales = {ax.collections[0].get_clim() for ax in panels}
    assert scales == {(-np.abs(both["A"].matrix).max(), np.abs(both["A"].matrix).max())}
    figure_branch_size({"A": tuned()}, title="Shapley values")
    data = branch_size_data(both)
    assert len(data) == 2 * 4 * 5
    row = data[(data["model"] == "B") & (data["stride"] == 16) & (data["octave"] == 5)].iloc[0]
    assert (row["value"], row["sic"]) == (both["B"].matrix[2, 2], 0.3)
    assert interaction_words(tuned(None).sic) == "SIC too few"
    assert interaction_words(Estimate(0.5, None, None, 3, 3, "few")) == "SIC 0.50, no interval: few"


def test_drops(check_text, all_text):
    rows = [
        {"intervention": f"stage4.branch{r}", "measure": "recall", "octave": o, "mean": r - o / 10}
        for r in range(4) for o in (3, 4, 6)
    ]  # fmt: skip
    figure = figure_drops(pd.DataFrame(rows), title="Removed branches")
    check_text(figure)
    assert {"2.7", "1.6"} <= set(all_text(figure))
    assert "largest drop of recall is 2.700, stage4.branch3 at octave 3" in alt_text(figure)
    with pytest.raises(GstoVizError, match="no drops of iou"):
        figure_drops(pd.DataFrame(rows), measure="iou", title="x")


@dataclass(frozen=True)
class Seen:
    stride: int
    centre: tuple[float, float]
    gradient: np.ndarray
    erf_px: float


def test_the_ladder(check_text, all_text):
    image, outline, *_ = inputs()
    y, x = np.mgrid[:64, :96]
    fields = [
        Seen(s, (32.0, 48.0), np.exp(-((y - 32) ** 2 + (x - 48) ** 2) / (2.0 * s**2)), 2.0 * s)
        for s in STRIDES
    ]
    rows = [("before the last fusion, gated", fields), ("after the last fusion, gated", fields)]
    figure = figure_receptive_fields(image, outline, rows, title="pixel:48,32")
    check_text(figure)
    words = all_text(figure)
    # Radii that double with the stride.
    assert "after the last fusion, gated: slope 1.00" in words
    assert words.count("stride 16: ERF radius 32 px") == 2
    circles = [p for ax in figure.axes for p in ax.patches if hasattr(p, "radius")]
    assert sorted({c.radius for c in circles}) == [8, 16, 32, 64]
    assert "stride 32 64 px" in alt_text(figure)
    with pytest.raises(GstoVizError, match="rows of equal length"):
        figure_receptive_fields(image, outline, [("a", fields), ("b", fields[:2])], title="x")
