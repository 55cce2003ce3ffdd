import itertools

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gsto_viz.activity import gate_map, normalise_map
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import draw_heatmap, draw_image, draw_labels
from gsto_viz.plots.page import INVALID
from gsto_viz.plots.panels import outline_segments
from gsto_viz.words import COLORMAPS, RAW_BADGE


def new_axes(size=(3.0, 3.0)):
    figure = Figure(figsize=size, dpi=100)
    FigureCanvasAgg(figure)
    return figure.add_axes((0.1, 0.3, 0.8, 0.6))


@pytest.mark.parametrize("size", [(67, 101), (64, 128), (101, 67), (33, 33)])
@pytest.mark.parametrize("stride", [4, 32])
def test_cells_lie_where_the_image_has_their_pixels(size, stride):
    height, width = size
    shape = (-(-height // stride), -(-width // stride))
    heatmap = normalise_map(np.random.default_rng(0).random(shape), stride=stride)
    zoom = 3  # screen pixels per image pixel, exactly
    figure = Figure(figsize=((width * zoom) / 100, (height * zoom) / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    draw_heatmap(heatmap, ax=ax, size=size, caption=False)
    ax.spines[:].set_visible(False)
    canvas.draw()
    screen = np.asarray(canvas.buffer_rgba())[zoom // 2 :: zoom, zoom // 2 :: zoom, :3]
    for y, x in itertools.product(range(height), range(0, width, 5)):
        value = heatmap.values[y // stride, x // stride]
        expected = np.array(colormaps["viridis"](value)[:3]) * 255
        assert np.abs(screen[y, x] - expected).max() <= 1.5, (y, x)


def test_the_last_cells_are_cut_at_the_image():
    ax = draw_heatmap(normalise_map(np.eye(3), stride=32), ax=new_axes(), size=(67, 65))
    assert ax.images[0].get_extent() == [0, 96, 96, 0]
    assert ax.get_xlim() == (0, 65)
    assert ax.get_ylim() == (67, 0)


def test_image_and_map_share_coordinates_in_an_overlay():
    image = np.random.default_rng(1).integers(0, 256, (67, 65, 3), dtype=np.uint8)
    ax = draw_heatmap(normalise_map(np.eye(3), stride=32), ax=new_axes(), image=image, opacity=0.4)
    below, above = ax.images
    assert below.get_extent() == [0, 65, 67, 0]
    assert above.get_alpha() == 0.4
    assert below.get_zorder() < above.get_zorder()
    grey = below.get_array()
    assert (grey[..., 0] == grey[..., 1]).all()
    luma = 0.2126 * 10 + 0.7152 * 20 + 0.0722 * 30
    flat = np.full((67, 65, 3), (10, 20, 30), np.uint8)
    ax = draw_heatmap(normalise_map(np.eye(3), stride=32), ax=new_axes(), image=flat)
    assert ax.images[0].get_array()[0, 0, 0] == round(luma)


@pytest.mark.parametrize("mode", ["percentile", "per_map", "zscore"])
def test_the_bar_has_numbers_at_its_ends(mode):
    heatmap = normalise_map(np.arange(12.0).reshape(3, 4), stride=4, mode=mode)
    ax = draw_heatmap(heatmap, ax=new_axes())
    bar = ax.child_axes[-1]
    labels = [label.get_text() for label in bar.get_xticklabels()]
    assert float(labels[0]) == heatmap.low
    assert float(labels[-1]) == heatmap.high
    assert list(bar.get_xlim()) == [heatmap.low, heatmap.high]
    assert ax.images[0].get_clim() == (heatmap.low, heatmap.high)
    assert heatmap.label in bar.get_xlabel()
    assert (RAW_BADGE in bar.get_xlabel()) == heatmap.raw


def test_cells_that_do_not_count_are_grey_and_the_bar_keeps_its_numbers():
    valid = np.array([[True, False], [False, False]])
    ax = draw_heatmap(normalise_map(np.eye(2), stride=4, valid=valid), ax=new_axes())
    artist = ax.images[0]
    np.testing.assert_array_equal(np.ma.getmaskarray(artist.get_array()), ~valid)
    assert tuple(artist.get_cmap().get_bad()[:3]) == to_rgb(INVALID)
    assert artist.get_clim() == (0, 1)
    assert [t.get_text() for t in ax.child_axes[-1].get_xticklabels()] == ["0", "0.5", "1"]


def test_gate_bars_do_not_depend_on_the_values():
    for values in (np.full((2, 2), 0.5), np.full((2, 2), 0.99)):
        ax = draw_heatmap(gate_map(values, stride=4, limits=(0.5, 1.0)), ax=new_axes())
        assert ax.images[0].get_clim() == (0.5, 1.0)


def test_no_map_is_jet():
    assert not {"jet", "rainbow", "hsv", "gist_rainbow"} & set(COLORMAPS.values())


def test_sequential_maps_grow_lighter_all_the_way():
    for mode in ("percentile", "shared", "gate"):
        colors = colormaps[COLORMAPS[mode]](np.linspace(0, 1, 64))[:, :3]
        assert (np.diff(colors @ [0.2126, 0.7152, 0.0722]) > 0).all(), mode


def literal_edges(regions):
    """Every pixel edge between different regions, one by one."""
    height, width = regions.shape
    edges = set()
    for y, x in itertools.product(range(height), range(width)):
        if y + 1 < height and regions[y, x] != regions[y + 1, x]:
            edges.add(((x, y + 1), (x + 1, y + 1)))
        if x + 1 < width and regions[y, x] != regions[y, x + 1]:
            edges.add(((x + 1, y), (x + 1, y + 1)))
    return edges


def test_outlines_are_the_edges_between_regions():
    regions = np.random.default_rng(5).integers(0, 3, (9, 13))
    cut = set()
    for (x0, y0), (x1, y1) in outline_segments(regions).astype(int).tolist():
        steps = max(x1 - x0, y1 - y0)
        dx, dy = (x1 - x0) // steps, (y1 - y0) // steps
        for k in range(steps):
            edge = ((x0 + k * dx, y0 + k * dy), (x0 + (k + 1) * dx, y0 + (k + 1) * dy))
            assert edge not in cut
            cut.add(edge)
    assert cut == literal_edges(regions)
    assert outline_segments(np.ones((4, 4), int)).shape == (0, 2, 2)


def test_label_maps_over_an_image(make_classes):
    image = np.zeros((4, 6, 3), np.uint8)
    labels = np.tile(np.arange(3, dtype=np.uint8), (4, 2))
    ax = draw_labels(labels, make_classes(3), ax=new_axes(), image=image, opacity=0.5)
    assert [artist.get_alpha() for artist in ax.images] == [1.0, 0.5]
    assert ax.images[1].get_extent() == [0, 6, 4, 0]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda ax, m, c: draw_heatmap(m, ax=ax, size=(64, 64)), r"\(2, 2\).*\(16, 16\)"),
        (lambda ax, m, c: draw_heatmap(m, ax=ax, opacity=1.5), "opacity 1.5"),
        (lambda ax, m, c: draw_image(np.zeros((4, 4)), ax=ax), "float64"),
        (lambda ax, m, c: draw_labels(np.full((2, 2), 7), c, ax=ax), "label 7"),
        (lambda ax, m, c: draw_labels(np.full((2, 2), -1), c, ax=ax), "label -1"),
        (lambda ax, m, c: draw_labels(np.zeros(3, int), c, ax=ax), r"\(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(make_classes, draw, words):
    heatmap = normalise_map(np.eye(2), stride=4)
    with pytest.raises(GstoVizError, match=words):
        draw(new_axes(), heatmap, make_classes(3))
