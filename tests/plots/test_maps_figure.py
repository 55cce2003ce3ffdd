import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, maps_figure
from gsto_viz.words import RAW_BADGE

STRIDES = {"stem": 4, "stage4.branch3": 32, "stage2.m0.gate[0->1]": 4, "transition2.gate": 8}


def make_maps(size):
    rng = np.random.default_rng(0)
    return {
        tap: 0.5 + 0.5 * rng.random((-(-size[0] // s), -(-size[1] // s)))
        for tap, s in STRIDES.items()
    }


@pytest.mark.parametrize(
    ("size", "mode"),
    [
        ((64, 128), "percentile"),
        ((67, 101), "zscore"),
        ((320, 80), "per_map"),
        ((32, 300), "per_map"),
    ],
)
def test_each_map_has_a_panel_with_a_bar(check_text, all_text, size, mode):
    maps = make_maps(size)
    image = np.zeros((*size, 3), np.uint8)
    figure = maps_figure(maps, image, strides=STRIDES, mode=mode, gate_range=(0.5, 1.0))
    check_text(figure)
    axes = {ax.get_label(): ax for ax in figure.axes}
    assert list(axes) == ["input", *maps]
    for tap in maps:
        assert len(axes[tap].child_axes) == 1
        is_gate = "gate" in tap
        assert (axes[tap].images[0].get_clim() == (0.5, 1.0)) == is_gate
        if is_gate:
            np.testing.assert_array_equal(axes[tap].images[0].get_array(), maps[tap])
    whole = " ".join(" ".join(all_text(figure)).split())
    assert (RAW_BADGE in whole) == (mode == "per_map")
    assert "transition2.gate" in alt_text(figure)


def test_overlay_draws_the_image_below_each_map():
    image = np.zeros((64, 128, 3), np.uint8)
    figure = maps_figure(make_maps((64, 128)), image, strides=STRIDES, overlay=True)
    assert [len(ax.images) for ax in figure.axes] == [1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ({}, "no maps"),
        ({"stem": np.zeros((3, 16, 32))}, r"'stem' has shape \(3, 16, 32\)"),
        ({"other": np.zeros((16, 32))}, "'other' has no stride"),
        ({"stem": np.zeros((16, 33))}, r"\(16, 32\)"),
        ({f"t{k}": np.zeros((16, 32)) for k in range(61)}, "61 maps"),
    ],
)
def test_unusable_maps_are_refused(maps, words):
    with pytest.raises(GstoVizError, match=words):
        maps_figure(maps, np.zeros((64, 128, 3), np.uint8), strides=STRIDES)
