from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import PairRow, alt_text, figure_worst_pairs, worst_pairs_data
from gsto_viz.plots.pairs import LARGE_COLOR
from gsto_viz.types import WorstPair

PAIR = WorstPair("A", "an image", 2, 1, gap_octaves=2.51, q_small=0.314, q_large=-0.2)


@pytest.fixture
def make_row(make_sample, make_inspection):
    def make(size=(64, 128), pair=None, labelled=True, **options):
        regions = np.zeros(size, dtype=np.int32)
        regions[10:40, 4:30] = 1
        regions[5:9, 40:46] = 2
        inspection = make_inspection(size, **options)
        return PairRow(pair or PAIR, make_sample(size, labelled=labelled), inspection, regions)

    return make


def panels(figure):
    return {ax.get_label(): ax for ax in figure.axes}


def test_a_row_has_the_image_the_smaller_region_and_every_branch(make_row):
    row = make_row()
    axes = panels(figure_worst_pairs([row]))
    whole, near = axes["A an image image"], axes["A an image the smaller region"]
    np.testing.assert_array_equal(whole.images[0].get_array(), row.sample.image)
    assert whole.get_xlim() == (0, 128)
    left, right = near.get_xlim()
    bottom, top = near.get_ylim()
    assert left <= 40
    assert right >= 46
    assert top <= 5
    assert bottom >= 9
    assert 48 <= bottom - top < 64
    assert (left, top) >= (0, 0)
    for r, stride in enumerate((4, 8, 16, 32)):
        drawn = axes[f"A an image stride {stride}"].images[0]
        assert drawn.get_clim() == (0, 1)
        values = drawn.get_array()
        shown = ~np.ma.getmaskarray(values)
        order = np.argsort(values[shown])
        assert (order == np.argsort(row.inspection.activity[r][shown])).all()


def test_outlines_are_those_of_the_pair(make_row):
    axes = panels(figure_worst_pairs([make_row()]))
    for label in ("A an image image", "A an image stride 8"):
        boxes = {}
        for patch in axes[label].patches[:4]:
            color = to_hex(patch.get_edgecolor())
            boxes.setdefault(color, []).append(patch.get_path().get_extents().bounds)
        assert boxes[LARGE_COLOR.lower()] == [(4, 10, 26, 30)]
        assert boxes["#ffffff"] == [(40, 5, 6, 4)]


def test_headings_give_gap_and_both_q(make_row, all_text):
    figure = figure_worst_pairs(
        [make_row(), make_row(pair=replace(PAIR, model="B"))], names={"B": "a net"}
    )
    texts = all_text(figure)
    numbers = "sizes 2.5 octaves apart, q +0.31 of the smaller, -0.20 of the larger"
    assert {"A, image an image", "B  a net, image an image"} <= set(texts)
    assert texts.count(numbers) == 2
    assert numbers in alt_text(figure)


def test_the_caption_can_be_left_out(make_row, all_text, check_text):
    whole, bare = (figure_worst_pairs([make_row()], caption=c) for c in (True, False))
    words = "chosen for being wrong"
    assert any(words in " ".join(text.split()) for text in all_text(whole))
    assert not any(words in text for text in all_text(bare))
    assert bare.get_figheight() < whole.get_figheight()
    check_text(bare)


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ([(64, 128), (160, 96)], {}),
        ([(96, 96)] * 8, {"strides": (4, 8)}),
        ([(64, 128)], {"strides": (2, 4, 8, 16, 32, 64), "labelled": False}),
    ],
)
def test_no_text_overlaps(make_row, check_text, sizes, options):
    names = {"A": "a-long-name-" * 20}
    figure = figure_worst_pairs([make_row(size, **options) for size in sizes], names=names)
    check_text(figure)


def test_data_counts_the_pixels_of_both_regions(make_row):
    data = worst_pairs_data([make_row()])
    row = data.iloc[0]
    assert (row["small_px"], row["large_px"]) == (24, 780)
    assert (row["model"], row["gap_octaves"], row["q_large"]) == ("A", 2.51, -0.2)
    assert len(worst_pairs_data([])) == 0


def test_unusable_rows_are_refused(make_row):
    row = make_row()
    with pytest.raises(GstoVizError, match="0 pairs"):
        figure_worst_pairs([])
    with pytest.raises(GstoVizError, match="9 pairs"):
        figure_worst_pairs([row] * 9)
    with pytest.raises(GstoVizError, match="no region 7"):
        figure_worst_pairs([replace(row, pair=replace(PAIR, large_region=7))])
    with pytest.raises(GstoVizError, match="no region 0"):
        figure_worst_pairs([replace(row, pair=replace(PAIR, small_region=0))])
    with pytest.raises(GstoVizError, match="3x3 pixels"):
        figure_worst_pairs([replace(row, regions=np.ones((3, 3), int))])
