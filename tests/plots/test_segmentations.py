from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from gsto_viz.colors import NETWORKS
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, figure_segmentations, segmentations_data
from gsto_viz.plots.pairs import COLORS, OUTCOMES, outcome_map


@pytest.fixture
def make_row(make_sample, make_inspection):
    def make(size=(48, 64), keys="AB", labelled=True, name="an image", seed=0):
        sample = replace(make_sample(size, labelled=labelled, seed=seed), id=name)
        return sample, {key: make_inspection(size, seed=seed + k) for k, key in enumerate(keys)}

    return make


def test_outcomes_pixel_by_pixel():
    labels = np.array([[0, 0, 0, 0, 255]])
    a, b = np.array([[0, 0, 1, 1, 0]]), np.array([[0, 1, 0, 2, 1]])
    names = [OUTCOMES[code].format("A", "B") for code in outcome_map(labels, [a, b])[0]]
    assert names == ["right", "only A right", "only B right", "wrong", "not annotated"]
    assert [OUTCOMES[c] for c in outcome_map(None, [a, b])[0]] == [
        "same", "differ", "differ", "differ", "differ",
    ]  # fmt: skip
    assert [OUTCOMES[c] for c in outcome_map(labels, [a])[0]] == [
        "right", "right", "wrong", "wrong", "not annotated",
    ]  # fmt: skip


def test_panels_show_what_their_titles_say(make_row, make_classes):
    sample, shown = make_row()
    figure = figure_segmentations([(sample, shown)], classes=make_classes(5))
    axes = {ax.get_label(): ax for ax in figure.axes}
    np.testing.assert_array_equal(axes["an image input"].images[0].get_array(), sample.image)
    palette = np.array([(k, 255 - k, 7) for k in range(5)], dtype=np.uint8)
    for key in "AB":
        drawn = axes[f"an image {key}"].images[0].get_array()
        np.testing.assert_array_equal(drawn, palette[shown[key].prediction])
    drawn = axes["an image which is right"].images[0].get_array()
    a_only = (shown["A"].prediction == sample.labels) & (shown["B"].prediction != sample.labels)
    assert a_only.any()
    assert {to_hex(pixel / 255) for pixel in drawn[a_only]} == {NETWORKS[0].color.lower()}
    unknown = sample.labels == 255
    assert not drawn[unknown].any()
    assert len(set(COLORS[:5])) == 5


@pytest.mark.parametrize(
    ("rows", "classes"),
    [
        ([{}, {"size": (96, 40), "name": "another"}], 5),
        ([{"keys": "A"}, {"keys": "A", "name": "b" * 200}], 150),
        ([{"labelled": False}], 5),
        ([{"keys": "A", "labelled": False}], 5),
        ([{}, {"labelled": False, "name": "bare"}], 5),
        ([{"name": str(k)} for k in range(10)], 20),
    ],
)
def test_no_text_overlaps(make_row, make_classes, check_text, rows, classes):
    names = dict.fromkeys("AB", "a-long-name-" * 20)
    figure = figure_segmentations(
        [make_row(**row) for row in rows], classes=make_classes(classes), names=names
    )
    check_text(figure)


def test_without_labels_only_differences_are_shown(make_row, make_classes, all_text):
    sample, shown = make_row(labelled=False)
    figure = figure_segmentations([(sample, shown)], classes=make_classes(5))
    texts = all_text(figure)
    assert "where they differ" in texts
    assert "ground truth" not in texts
    assert {"same", "differ"} <= set(texts)
    alone = figure_segmentations([(sample, {"A": shown["A"]})], classes=make_classes(5))
    assert [ax.get_label() for ax in alone.axes] == ["an image input", "an image A", "classes"]


@pytest.mark.parametrize("keys", ["ABC", "ABCDEF"])
def test_of_more_networks_how_many_are_right_is_counted(make_row, make_classes, check_text, keys):
    sample, shown = make_row((60, 80), keys)
    figure = figure_segmentations([(sample, shown)], classes=make_classes(5))
    check_text(figure)
    axes = {ax.get_label(): ax for ax in figure.axes}
    drawn = axes["an image how many are right"].images[0].get_array()
    known = sample.labels != 255
    right = sum((one.prediction == sample.labels).astype(int) for one in shown.values())
    data = segmentations_data([(sample, shown)]).set_index("outcome")["pixels"]
    colors = set()
    for count in range(len(keys) + 1):
        here = known & (right == count)
        assert data.get(f"{count} of {len(keys)} right", 0) == here.sum()
        found = {to_hex(pixel / 255) for pixel in drawn[here]}
        assert len(found) == here.any()
        assert not found & colors
        colors |= found
    assert not drawn[~known].any()


def test_data_counts_pixels_and_shares(make_row):
    sample, shown = make_row()
    data = segmentations_data([(sample, shown)]).set_index("outcome")
    right = {key: shown[key].prediction == sample.labels for key in "AB"}
    known = sample.labels != 255
    both = int((right["A"] & right["B"] & known).sum())
    assert data.loc["both right", "pixels"] == both
    assert data.loc["both right", "share"] == pytest.approx(both / known.sum())
    assert data["pixels"].sum() == sample.labels.size
    assert np.isnan(data.loc["not annotated", "share"])
    assert data["share"].sum() == pytest.approx(1)


def test_alt_text_gives_shares(make_row, make_classes):
    words = alt_text(figure_segmentations([make_row()], classes=make_classes(5)))
    assert "both wrong" in words
    assert "%" in words


def test_unusable_rows_are_refused(make_row, make_classes):
    classes = make_classes(5)
    with pytest.raises(GstoVizError, match="0 images"):
        figure_segmentations([], classes=classes)
    with pytest.raises(GstoVizError, match="9 networks"):
        figure_segmentations([make_row(keys="ABCDEFGHI")], classes=classes)
    with pytest.raises(GstoVizError, match="the same in every row"):
        figure_segmentations([make_row(), make_row(keys="A")], classes=classes)
    sample, _ = make_row()
    with pytest.raises(GstoVizError, match="and the image 48x64"):
        figure_segmentations([(sample, make_row(size=(48, 60))[1])], classes=classes)
