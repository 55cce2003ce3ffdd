from dataclasses import replace

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, figure_sci_dots, sci_dots_data
from gsto_viz.plots.dots import NOT_ESTIMATED
from gsto_viz.stats import Estimate, Headline
from gsto_viz.stats.nulls import Null
from gsto_viz.words import INDICES

KNOWN = Estimate(0.25, 0.2, 0.31, 40, 900)
BARE = Estimate(0.4, None, None, 4, 90, "4 independent images, an interval needs 10")
ABSENT = Estimate(None, None, None, 0, 0, "not estimated: no image has a pair to compare")


RANDOM = Null((0.41, 0.52, 0.6), Estimate(0.51, 0.49, 0.53, 40, 900))
COMMON = Null((0.5,), Estimate(0.5, 0.5, 0.5, 40, 900))
NONE = Null((), Estimate(None, None, None, 0, 0, "no two images have one size"))


def headline(**given):
    return Headline(dict.fromkeys(INDICES, KNOWN) | given, core_pair_share=0.1)


def nulls(**given):
    return {"sci": {"N3": RANDOM, "N5": COMMON, **given}, "sci_edge": {"N5": COMMON}}


def panel(figure, index="sci"):
    return next(ax for ax in figure.axes if ax.get_label() == index)


def marks(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def test_dots_bars_and_nulls_lie_at_their_numbers():
    figure = figure_sci_dots({"A": headline()}, {"A": nulls()})
    ax = panel(figure)
    (dot,) = marks(ax, "estimate")
    assert dot.get_xdata() == [0.25]
    y = dot.get_ydata()[0]
    bars = [line for line in ax.lines if list(line.get_xdata()) == [0.2, 0.31]]
    assert [list(bar.get_ydata()) for bar in bars] == [[y, y]]
    draws = {line.get_ydata()[0]: list(line.get_xdata()) for line in marks(ax, "draws")}
    assert draws == {y + 1: [0.41, 0.52, 0.6], y + 2: [0.5]}
    assert [line.get_xdata()[0] for line in marks(ax, "null")] == [0.51, 0.5]
    assert any(list(line.get_xdata()) == [0.41, 0.6] for line in ax.lines)
    assert ax.get_xlim() == (0, 1)


def test_the_band_of_the_margin_belongs_to_sci_only_and_chance_to_all():
    figure = figure_sci_dots({"A": headline()}, {"A": nulls()}, indices=("sci", "sci_edge"))
    spans = [c.get_paths()[0].get_extents() for c in panel(figure).collections]
    assert [(round(s.x0, 12), round(s.x1, 12)) for s in spans] == [(0.43, 0.57)]
    assert not panel(figure, "sci_edge").collections
    for index in ("sci", "sci_edge"):
        assert any(list(line.get_xdata()) == [0.5, 0.5] for line in panel(figure, index).lines)


def test_what_is_missing_is_said_in_words_and_not_drawn(all_text, check_text):
    heads = {"A": headline(sci=ABSENT), "B": headline(sci=BARE)}
    figure = figure_sci_dots(heads, {"B": nulls(N2=NONE)})
    texts = all_text(figure)
    assert texts.count(NOT_ESTIMATED) == 2
    caption = " ".join(" ".join(texts).split())
    assert "A sci: no image has a pair to compare." in caption
    assert "B sci: 4 independent images, an interval needs 10." in caption
    assert "B N2 sci: no two images have one size." in caption
    assert "No nulls were made for A." in caption
    (dot,) = marks(panel(figure), "estimate")
    assert dot.get_markerfacecolor() == "white"
    assert "0.400" in texts
    check_text(figure)


def test_the_caption_counts_the_lines_that_miss_something_for_one_reason(all_text):
    heads = dict.fromkeys("ABCDE", headline(sci=BARE))
    figure = figure_sci_dots(heads, indices=["sci"])
    caption = " ".join(" ".join(all_text(figure)).split())
    assert "5 lines: 4 independent images, an interval needs 10." in caption
    assert "A sci" not in caption
    assert "E sci" in alt_text(figure)


@pytest.mark.parametrize(
    ("models", "indices", "width"),
    [
        ("A", ("sci",), 6.0),
        ("AB", ("sci", "sci_edge"), 8.0),
        ("ABCDEF", ("sci", "c_fine", "a_last"), 10.0),
    ],
)
def test_no_text_overlaps(check_text, models, indices, width):
    names = dict.fromkeys(models, "a-checkpoint-of-a-very-long-name-" * 5)
    every = {f"N{k}": replace(RANDOM, values=(0.1 * k, 0.2)) for k in range(1, 6)}
    figure = figure_sci_dots(
        {key: headline() for key in models},
        {key: nulls(**every) for key in models},
        names=names,
        indices=indices,
        width=width,
    )
    check_text(figure)
    assert len(figure.axes) == len(indices)


def test_data_has_a_row_for_every_number():
    data = sci_dots_data({"A": headline()}, {"A": nulls(N2=NONE)})
    estimates = data[data["source"] == "model"]
    assert estimates["index"].tolist() == ["sci", "sci_edge"]
    assert (
        estimates[["value", "low", "high", "n_images"]].to_numpy().tolist()
        == [[0.25, 0.2, 0.31, 40]] * 2
    )
    random = data[(data["index"] == "sci") & (data["source"] == "N3")]
    assert random["draw"].isna().tolist() == [True, False, False, False]
    assert random["value"].tolist() == [0.51, 0.41, 0.52, 0.6]
    absent = data[data["source"] == "N2"]
    assert np.isnan(absent["value"].item())
    assert absent["reason"].item() == "no two images have one size"


def test_alt_text_gives_every_number():
    words = alt_text(figure_sci_dots({"A": headline(sci_edge=ABSENT)}, {"A": nulls()}))
    assert "A sci 0.250 [0.200, 0.310]" in words
    assert "A N3 sci 0.510" in words
    assert "A sci_edge not estimated" in words


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: figure_sci_dots({}), "nothing to draw"),
        (lambda: figure_sci_dots({"A": headline()}, indices=()), "nothing to draw"),
        (lambda: figure_sci_dots({"A": headline()}, indices=("scy",)), "no index 'scy'"),
        (lambda: figure_sci_dots({"A": headline()}, indices=("sci",) * 4), "at most three"),
        (lambda: figure_sci_dots({k: headline() for k in "ABCDEFGHI"}), "up to 8 networks"),
    ],
)
def test_unusable_input_is_refused(make, words):
    with pytest.raises(GstoVizError, match=words):
        make()
