import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, figure_scale_confusion, scale_confusion_data
from gsto_viz.plots.gates import NO_GATES, arrange_gates, percent
from gsto_viz.plots.panels import without_specks
from gsto_viz.words import MODES, RAW_BADGE

LONG = "a-checkpoint-with-a-very-long-name-" * 4


def draw(make_sample, make_inspection, make_classes, size=(64, 128), **options):
    settings = {"labelled": True, "gated": (False, True), "classes": 5, "names": ("net a", "net b")}
    settings |= {key: options.pop(key) for key in list(options) if key in settings}
    sample = make_sample(size, settings["classes"], settings["labelled"])
    pair = [
        make_inspection(size, name, gated, seed=k)
        for k, (name, gated) in enumerate(zip(settings["names"], settings["gated"], strict=True))
    ]
    figure = figure_scale_confusion(
        sample,
        dict(zip("AB", pair, strict=True)),
        classes=make_classes(settings["classes"]),
        **options,
    )
    return figure, sample, pair


@pytest.fixture
def figure1(make_sample, make_inspection, make_classes):
    def make(size=(64, 128), **options):
        return draw(make_sample, make_inspection, make_classes, size, **options)

    return make


def axes_by_label(figure):
    return {ax.get_label(): ax for ax in figure.axes}


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((128, 256), {}),
        ((90, 120), {"mode": "shared"}),
        ((67, 101), {"gated": (True, True), "width": 7.0}),
        ((96, 96), {"mode": "per_map", "names": (LONG, LONG)}),
        ((160, 96), {"mode": "zscore", "width": 10.0}),
        ((384, 96), {"gated": (False, False), "mode": "shared", "width": 7.0}),
        ((64, 320), {"labelled": False, "gated": (True, False)}),
        ((64, 128), {"classes": 150}),
    ],
    ids=lambda value: f"{value[0]}x{value[1]}" if isinstance(value, tuple) else None,
)
def test_no_text_overlaps_or_leaves_the_page(figure1, check_text, size, options):
    figure, _, _ = figure1(size, **options)
    check_text(figure)
    assert figure.get_size_inches()[0] == options.get("width", 8.0)


def test_panels_show_what_their_titles_say(figure1):
    figure, sample, (a, b) = figure1()
    axes = axes_by_label(figure)
    np.testing.assert_array_equal(axes["input"].images[0].get_array(), sample.image)
    palette = np.array([(k, 255 - k, 7) for k in range(5)], dtype=np.uint8)
    known = sample.labels != 255
    drawn = axes["ground truth"].images[0].get_array()
    np.testing.assert_array_equal(drawn[known], palette[sample.labels[known]])
    assert not drawn[~known].any()
    for letter, network in (("A", a), ("B", b)):
        drawn = axes[f"{letter} prediction"].images[0].get_array()
        np.testing.assert_array_equal(drawn, palette[network.prediction])
        for r, stride in enumerate((4, 8, 16, 32)):
            ax = axes[f"{letter} branch {r}"]
            assert ax.get_title() == f"stride {stride}"
            assert ax.images[0].get_clim() == (0, 1)
            order = np.ma.compressed(ax.images[0].get_array())
            chosen = ~np.ma.getmaskarray(ax.images[0].get_array())
            assert (np.argsort(order) == np.argsort(network.activity[r][chosen])).all()


@pytest.mark.parametrize("mode", MODES)
def test_raw_modes_carry_the_badge_once_a_network(figure1, all_text, mode):
    figure, _, _ = figure1(mode=mode)
    assert all_text(figure).count(RAW_BADGE) == (2 if MODES[mode].raw else 0)


def test_gates_of_the_last_fusion_and_the_transitions_are_drawn_on_their_range(figure1, all_text):
    figure, _, (_, b) = figure1()
    drawn = {ax.get_label(): ax for ax in figure.axes if ".gate" in ax.get_label()}
    expected = {name for name in b.gates if "stage4.m0" not in name}
    assert set(drawn) == expected
    for name, ax in drawn.items():
        np.testing.assert_array_equal(ax.images[0].get_array(), b.gates[name].astype(float))
        assert ax.images[0].get_clim() == (0.5, 1.0)
        assert ax.get_xlabel().endswith("at 0.5")
    assert [text for text in all_text(figure) if NO_GATES in text] == [f"A  {NO_GATES}"]


def test_networks_without_gates_say_so(figure1, all_text):
    figure, _, _ = figure1(gated=(False, False))
    assert {f"A  {NO_GATES}", f"B  {NO_GATES}"} <= set(all_text(figure))
    assert not any(".gate" in ax.get_label() for ax in figure.axes)


def test_every_panel_has_content(figure1):
    figure, _, _ = figure1()
    for ax in figure.axes:
        assert ax.images or ax.patches or ax.collections, f"{ax.get_label()} is empty"


def test_regions_are_outlined_on_heat_maps_only(figure1):
    regions = np.zeros((64, 128), int)
    regions[10:20, 30:50] = 1
    figure, _, _ = figure1(regions=regions)
    for label, ax in axes_by_label(figure).items():
        if " branch " in label:
            path = ax.patches[-1].get_path()
            assert path.get_extents().bounds == (30, 10, 20, 10)
        elif ax.images:
            assert not ax.patches


def test_without_labels_there_is_no_ground_truth_and_no_grey(figure1):
    figure, _, _ = figure1(labelled=False)
    axes = axes_by_label(figure)
    assert "ground truth" not in axes
    assert not np.ma.getmaskarray(axes["A branch 0"].images[0].get_array()).any()


def test_alt_text_and_caption_name_networks_and_normalisation(figure1, all_text):
    figure, _, _ = figure1(mode="shared")
    assert "net a" in alt_text(figure)
    assert "net b" in alt_text(figure)
    assert "one scale for A and B" in alt_text(figure)
    caption = next(text for text in all_text(figure) if text.startswith("Image an image"))
    assert "arbitrary" in caption


def test_maps_of_another_image_are_refused(make_sample, make_inspection, make_classes):
    sample, classes = make_sample((64, 128)), make_classes(5)
    fits, other = make_inspection((64, 128)), make_inspection((64, 96))
    with pytest.raises(GstoVizError, match="64x96 pixels and the image 64x128"):
        figure_scale_confusion(sample, {"A": fits, "B": other}, classes=classes)
    with pytest.raises(GstoVizError, match="3x3 pixels"):
        figure_scale_confusion(sample, {"A": fits}, classes=classes, regions=np.zeros((3, 3), int))


def test_gates_are_arranged_by_name_in_either_spelling():
    names = ["stage3.m3.gate[1->0]", "stage4.m0.gate[0->1]", "stage4.m1.gate.2to0"]
    grid = arrange_gates([*names, "transition2.gate"])
    assert grid.site == "stage4.m1"
    assert grid.edges == {(2, 0): "stage4.m1.gate.2to0"}
    assert grid.transitions == {2: "transition2.gate"}
    assert arrange_gates(["transition1.gate"]).site == ""
    with pytest.raises(GstoVizError, match="'stem' is not a gate"):
        arrange_gates([*names, "stem"])


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1e-4, "<1%"), (0.12, "12%"), (0.9999, ">99%"), (1, "100%")],
)
def test_shares_are_0_or_100_only_when_exact(share, text):
    assert percent(share) == text


@pytest.mark.parametrize("mode", ["percentile", "per_map"])
def test_one_network_is_enough(make_sample, make_inspection, make_classes, check_text, mode):
    sample, only = make_sample((64, 128)), make_inspection((64, 128), gated=True)
    regions = np.zeros((64, 128), int)
    regions[10:20, 30:50] = 1
    figure = figure_scale_confusion(
        sample, {"A": only}, classes=make_classes(5), mode=mode, regions=regions
    )
    check_text(figure)
    labels = axes_by_label(figure)
    assert "A branch 3" in labels
    assert not [label for label in labels if label.startswith("B ")]
    assert "(net)" in alt_text(figure)


@pytest.mark.parametrize("count", [3, 6])
def test_networks_have_their_own_names(
    make_sample, make_inspection, make_classes, check_text, count
):
    sample = make_sample((64, 128))
    names = ["plain", "gated-long-name", "C", "d_4", "e", "f"][:count]
    looks = {
        name: make_inspection((64, 128), name * 9, gated=k == 1, seed=k)
        for k, name in enumerate(names)
    }
    figure = figure_scale_confusion(sample, looks, classes=make_classes(5), mode="shared")
    check_text(figure)
    assert {f"{name} branch 3" for name in names} <= set(axes_by_label(figure))
    assert f"one scale for {', '.join(names[:-1])} and {names[-1]} in" in alt_text(figure)
    assert scale_confusion_data(sample, looks)["model"].unique().tolist() == names


@pytest.mark.parametrize("strides", [(4, 8), (2, 4, 8, 16, 32, 64)])
def test_two_to_six_branches_fit(make_sample, make_inspection, make_classes, check_text, strides):
    sample = make_sample((64, 128))
    pair = [make_inspection((64, 128), gated=gated, strides=strides) for gated in (False, True)]
    check_text(
        figure_scale_confusion(sample, dict(zip("AB", pair, strict=True)), classes=make_classes(5))
    )


def test_specks_are_not_outlined():
    regions = np.ones((20, 30), int)
    regions[5:15, 5:15] = 2
    regions[7, 8] = 3  # a speck inside 2
    regions[0, 0] = 0  # a speck of no region
    regions[16:20, 20:30] = 0
    expected = np.ones((20, 30), int)
    expected[5:15, 5:15] = 2
    expected[16:20, 20:30] = 0
    np.testing.assert_array_equal(without_specks(regions, 40), expected)
    small = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(without_specks(small), small)
    np.testing.assert_array_equal(without_specks(expected, 1), expected)


def test_data_are_the_cells_of_the_maps(make_sample, make_inspection):
    sample = make_sample((64, 96))
    a, b = make_inspection((64, 96)), make_inspection((64, 96), seed=1)
    data = scale_confusion_data(sample, {"A": a, "B": b})
    assert len(data) == 2 * (16 * 24 + 8 * 12 + 4 * 6 + 2 * 3)
    assert data.loc[data["value"].notna(), "value"].between(0, 1).all()
    raw = scale_confusion_data(sample, {"A": a}, mode="per_map")
    assert set(raw["model"]) == {"A"}
    cell = raw[(raw["stride"] == 8) & (raw["row"] == 5) & (raw["column"] == 7)].iloc[0]
    assert cell["value"] == a.raw[1][5, 7]
    coarse = raw[raw["branch"] == 3]
    assert (coarse["high"] == coarse["value"].max()).all()


def test_any_number_of_networks_has_a_row_each(
    make_sample, make_inspection, make_classes, check_text
):
    sample = make_sample((64, 128))
    names = ("plain", "gated", "wide", "deep")
    shown = {
        name: make_inspection((64, 128), f"net {k}", gated=k % 2 == 1, seed=k)
        for k, name in enumerate(names)
    }
    figure = figure_scale_confusion(sample, shown, classes=make_classes(5), mode="shared")
    check_text(figure)
    axes = axes_by_label(figure)
    tops = [axes[f"{name} branch 0"].get_position().y1 for name in names]
    assert tops == sorted(tops, reverse=True)
    assert "one scale for plain, gated, wide and deep" in alt_text(figure)
    assert scale_confusion_data(sample, shown)["model"].unique().tolist() == list(names)
