"""Targets against literal loops over pixels, and what wrong targets say."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from gsto_viz.attribution import Target, View, parse_area, region_entries, resolve, resolve_batch
from gsto_viz.attribution.areas import (
    FORMS,
    Box,
    ClassRegion,
    Mask,
    Peak,
    Pixel,
    RankedRegion,
    Region,
    SizeBin,
)
from gsto_viz.attribution.targets import head_logits, stride_of, top_two
from gsto_viz.errors import GstoVizError
from gsto_viz.models import SegmentationOutput
from gsto_viz.regions import find_regions

STRIDE, GRID = 4, (18, 26)
SHAPE = (1, 4, *GRID)


def some_logits(seed=0):
    return np.random.default_rng(seed).normal(size=(4, *GRID))


def read(target, view, logits=None):
    flat = torch.from_numpy(some_logits() if logits is None else logits).flatten(1)
    return float(resolve(target, view, SHAPE).scores(flat))


def cell_score(logits, y, x, class_id, score):
    column = logits[:, y // STRIDE, x // STRIDE]
    others = [column[k] for k in range(4) if k != class_id]
    return column[class_id] - max(others) if score == "margin" else column[class_id]


def by_hand(places, class_of, score):
    logits = some_logits()
    values = [cell_score(logits, y, x, class_of(y, x), score) for y, x in places]
    return sum(values) if score == "sum" else sum(values) / len(values)


def pixels_of(mask):
    return [(int(y), int(x)) for y, x in np.argwhere(mask)]


def places(view):
    labels, predicted = view.labels, view.prediction
    box = np.zeros(labels.shape, bool)
    box[5:12, 40:61] = True
    big, small = np.zeros_like(box), np.zeros_like(box)
    big[30:50, 10:40] = True
    small[40:52, 60:80] = True

    def as_predicted(y, x):
        return int(predicted[y, x])

    return [
        (Pixel(60, 33), [(33, 60)], as_predicted),
        (Pixel(60, 33, "SKY"), [(33, 60)], lambda y, x: 3),
        (Box(40, 5, 60, 11), pixels_of(box), as_predicted),
        (Mask(box * 7, "pole"), pixels_of(box), lambda y, x: 2),
        (RankedRegion("car"), pixels_of(big), lambda y, x: 1),
        (RankedRegion("Car", "2"), pixels_of(small), lambda y, x: 1),
        (RankedRegion("1", "smallest"), pixels_of(small), lambda y, x: 1),
        (ClassRegion("car"), pixels_of(labels == 1), lambda y, x: 1),
        (ClassRegion("car", "predicted"), pixels_of(predicted == 1), lambda y, x: 1),
    ]


@pytest.mark.parametrize("score", ["margin", "mean", "sum"])
@pytest.mark.parametrize("which", range(9))
def test_scores_are_what_a_loop_over_pixels_says(view, which, score):
    place, pixels, class_of = places(view)[which]
    expected = by_hand(pixels, class_of, score)
    assert read(Target(place, score), view) == pytest.approx(expected, rel=1e-12)


def test_a_size_bin_weighs_its_regions_equally(view):
    regions = find_regions(view.labels)
    low, high = 3.5, 5.0
    inside = [k for k in range(len(regions)) if low <= regions.size_octave[k] < high]
    assert len(inside) >= 2
    each = [read(Target(Region(k + 1)), view) for k in inside]
    assert read(Target(SizeBin(low, high)), view) == pytest.approx(np.mean(each), rel=1e-12)
    sums = [read(Target(Region(k + 1), "sum"), view) for k in inside]
    assert read(Target(SizeBin(low, high), "sum"), view) == pytest.approx(sum(sums), rel=1e-12)


@pytest.mark.parametrize("part", ["part", "whole", "core", "band"])
def test_all_regions_at_once(view, part):
    regions = find_regions(view.labels)
    logits = some_logits(3)
    entries = region_entries(regions, SHAPE, part=part)
    found = entries.scores(torch.from_numpy(logits).flatten(1)).numpy()
    for k in range(len(regions)):
        mask = regions.ids == k + 1
        core = regions.distance_px > 8
        wanted = regions.part[k] if part == "part" else part
        mask &= {"whole": mask, "core": core, "band": ~core}[wanted]
        values = [
            cell_score(logits, y, x, int(regions.class_id[k]), "margin") for y, x in pixels_of(mask)
        ]
        assert found[k] == pytest.approx(np.mean(values) if values else 0.0, rel=1e-12)
    assert np.all(np.diff(entries.cell) >= 0)


def test_regions_come_from_the_prediction_without_labels(view):
    bare = View(view.prediction, view.names)
    half = pixels_of(view.prediction == 1)
    expected = by_hand(half, lambda y, x: 1, "margin")
    assert read(Target(RankedRegion("car")), bare) == pytest.approx(expected)
    assert read(Target(ClassRegion("car")), bare) == pytest.approx(expected)
    assert (view.source, bare.source) == ("labels", "prediction")


def test_top_two_against_sorting():
    logits = torch.randint(0, 3, (5, 4, 7), generator=torch.Generator().manual_seed(0)).float()
    ordered = logits.sort(dim=1, descending=True).values
    best, second = top_two(logits)
    assert torch.equal(best, ordered[:, 0])
    assert torch.equal(second, ordered[:, 1])


def test_scores_are_differentiable(view):
    entries = resolve(Target(Box(0, 0, 20, 8)), view, SHAPE).within(0, 60)
    logits = torch.from_numpy(some_logits()).flatten(1)[:, :60].clone().requires_grad_()
    assert torch.autograd.gradcheck(entries.scores, (logits,))


def test_one_target_for_each_image_of_a_batch(view):
    shape = (2, 4, *GRID)
    one, two = Target(Pixel(1, 2)), Target(Pixel(60, 33))
    first, second = resolve_batch([one, two], view, shape)
    assert (first.cell.tolist(), second.cell.tolist()) == ([0], [8 * 26 + 15])
    both = resolve_batch(one, [view, view], shape)
    assert [e.cell.tolist() for e in both] == [[0], [0]]


def test_targets_that_do_not_fit_the_batch(view):
    shape = (2, 4, *GRID)
    message = "3 targets do not fit axis 0 of the logits (2, 4, 18, 26), which has 2 images"
    with pytest.raises(GstoVizError, match=re.escape(message)):
        resolve_batch([Target(Pixel(0, 0))] * 3, view, shape)
    mixed = [Target(Pixel(0, 0)), Target(Pixel(0, 0), head="stage3")]
    with pytest.raises(GstoVizError, match="heads main, stage3; ask one head"):
        resolve_batch(mixed, view, shape)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            Pixel(101, 2),
            "x=101 lies outside axis 1 of the image (70, 101), which goes",
        ),
        (Pixel(3, 70), "y=70 lies outside axis 0 of the image (70, 101)"),
        (Box(9, 9, 8, 8), "box:9,9,8,8 is empty"),
        (Mask(np.ones((3, 3))), "the mask is (3, 3) and axes 0 and 1 of the image are (70, 101)"),
        (Mask(np.zeros((70, 101))), "mask:given has no pixel"),
        (Region(9), "no region 9: in the labels of this image (70, 101) there are regions 1 to 5"),
        (Pixel(0, 0, "tram"), "there is no class 'tram'; choose one of road, car, pole, sky"),
        (RankedRegion("car", "3"), "regions of this class is 2; choose largest, smallest or 1"),
        (ClassRegion("pole", "predicted"), "is predicted as this class; there are road, car"),
        (SizeBin(9, 10), "no region of the labels of this image (70, 101) has this size"),
    ],
)
def test_places_that_are_not_there(view, place, message):
    with pytest.raises(GstoVizError, match=re.escape(message)):
        resolve(Target(place), view, SHAPE)


def test_other_misfits(view):
    with pytest.raises(GstoVizError, match=re.escape("class 3 lies outside axis 1 of the logits")):
        resolve(Target(Pixel(0, 0, "sky")), view, (1, 3, *GRID))
    with pytest.raises(GstoVizError, match="not a grid of an image"):
        resolve(Target(Pixel(0, 0)), view, (1, 4, 17, 26))
    with pytest.raises(GstoVizError, match="has one class, so there is no margin"):
        resolve(Target(Pixel(0, 0)), View(view.prediction * 0, ("a",)), (1, 1, *GRID))
    with pytest.raises(GstoVizError, match="unknown score 'max'"):
        Target(Pixel(0, 0), "max")
    bare = View(view.prediction, view.names)
    with pytest.raises(GstoVizError, match="there are no labels; give them, or ask for predicted"):
        resolve(Target(ClassRegion("car", "true")), bare, SHAPE)
    with pytest.raises(GstoVizError, match="no region of this class; there are road, car"):
        resolve(Target(RankedRegion("sky")), bare, SHAPE)
    with pytest.raises(GstoVizError, match="give maps of one image"):
        View(view.prediction, view.names, view.labels[:5])


@pytest.mark.parametrize(
    ("size", "grid", "stride"),
    [
        ((70, 101), (18, 26), 4),
        ((70, 101), (70, 101), 1),
        ((33, 33), (2, 2), 32),
        ((5, 9), (3, 5), 2),
    ],
)
def test_strides_from_sizes(size, grid, stride):
    assert stride_of(size, grid) == stride


def test_heads_of_outputs_of_all_kinds():
    a, b, c = (torch.full((1, 4, 2, 2), float(k)) for k in range(3))
    ours = SegmentationOutput(a, {"stage2": c, "stage3": b})
    assert head_logits(ours) is a
    assert head_logits(ours, "stage3") is b
    assert head_logits(ours, "stage2") is c
    assert head_logits([a, b, c], "1") is b
    with pytest.raises(GstoVizError, match="returns 3 outputs"):
        head_logits([a, b, c])
    assert head_logits(a) is a
    with pytest.raises(
        GstoVizError,
        match="no head 'stage1'; it has main, logits, aux",
    ):
        head_logits(ours, "stage1")
    with pytest.raises(GstoVizError, match=r"no head 'stage3'; it has main$"):
        head_logits(a, "stage3")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("pixel:120,80", Pixel(120, 80)),
        ("pixel:120,80:car", Pixel(120, 80, "car")),
        ("box:1,2,3,4", Box(1, 2, 3, 4)),
        ("region:7", Region(7)),
        ("region:car", RankedRegion("car", "largest")),
        ("region:traffic sign:smallest", RankedRegion("traffic sign", "smallest")),
        ("region:car:2", RankedRegion("car", "2")),
        ("class:road", ClassRegion("road")),
        ("class:road:true", ClassRegion("road", "true")),
        ("size:5-6", SizeBin(5, 6)),
        ("size:4.5-5.5", SizeBin(4.5, 5.5)),
        ("joint:left wrist", Peak("left wrist")),
        ("joint:nose:1,2,30,40", Peak("nose", (1, 2, 30, 40))),
    ],
)
def test_words(text, place):
    assert parse_area(text) == place
    assert parse_area(str(place)) == place


def test_masks_come_from_files(tmp_path):
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[2, 3] = 9
    Image.fromarray(mask).save(tmp_path / "spot.png")
    place = parse_area(f"mask:{tmp_path / 'spot.png'}")
    np.testing.assert_array_equal(place.pixels, mask)
    assert str(place) == "mask:spot.png"


@pytest.mark.parametrize(
    "text",
    [
        "", "pixel", "pixel:", "pixel:3", "pixel:a,b", "pixel:1,2:", "pixel:-1,2", "box:1,2,3",
        "region:", "region:car:biggest", "region::largest", "class:road:sometimes", "size:5",
        "size:6-5", "size:a-b", "size:5-5", "car", "area:3",
    ],
)  # fmt: skip
def test_words_that_are_no_target(text):
    with pytest.raises(GstoVizError, match="is not a target; write"):
        parse_area(text)
    assert len(FORMS) == 7
