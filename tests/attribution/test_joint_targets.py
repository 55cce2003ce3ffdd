"""A joint as target: its peak by loops, its gradient by differences, shares that add up to it."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import enliven
from PIL import Image

from gsto_viz.attribution import (
    Baseline,
    Target,
    View,
    branch_shapley,
    head_pass,
    parse_area,
    region_shapley,
    resolve,
    shapley_maps,
    zero_baseline,
)
from gsto_viz.attribution.areas import Peak
from gsto_viz.attribution.head import find_head
from gsto_viz.attribution.targets import peak_entries
from gsto_viz.calibrate import calibrate
from gsto_viz.cli import main
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.models import ModelInfo, build_model, initialize, save_checkpoint
from gsto_viz.plots.attribution import color_words
from gsto_viz.regions import find_regions
from gsto_viz.types import IGNORE
from gsto_viz.words import HEAT_MAP, METHODS, scored

NAMES = COCO_JOINTS.classes.names
SIZE, STRIDE = (64, 80), 4
NETWORKS = ("hrnet-pose-tiny", "gsto-hrnet-pose-tiny")


def network(name):
    torch.manual_seed(3)
    model = build_model(name)
    initialize(model, "kaiming")
    enliven(model)
    return model.eval()


@pytest.fixture(scope="module", params=NETWORKS)
def live(request):
    """A network in double precision, an image, and what areas refer to in it."""
    model = network(request.param).double()
    image = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        maps = model(image).logits[0].numpy()
    return model, image, view_of(maps)


def view_of(maps):
    nothing = np.full(SIZE, IGNORE, dtype=np.uint8)
    return View(nothing, NAMES, heat_maps=maps)


def some_maps(seed=0):
    return np.random.default_rng(seed).normal(size=(17, SIZE[0] // STRIDE, SIZE[1] // STRIDE))


def read(target, view):
    maps = view.heat_maps
    entries = resolve(target, view, (1, *maps.shape))
    return float(entries.scores(torch.from_numpy(maps).flatten(1)))


@pytest.mark.parametrize("box", [None, (0, 0, 79, 63), (13, 9, 50, 41), (40, 20, 44, 60)])
@pytest.mark.parametrize("joint", ["nose", "Left Wrist", "16"])
def test_a_joint_is_the_greatest_cell_in_its_box(joint, box):
    view = view_of(some_maps())
    x0, y0, x1, y1 = box or (0, 0, 79, 63)
    own = view.heat_maps[view.class_index(joint)]
    best = max(
        own[row, column]
        for row in range(own.shape[0])
        for column in range(own.shape[1])
        if x0 <= STRIDE * column <= x1 and y0 <= STRIDE * row <= y1
    )
    assert read(Target(Peak(joint, box), "mean"), view) == best


def test_joints_are_read_at_points_and_in_masks_and_boxes_too():
    view = view_of(some_maps(1))
    wrist = view.heat_maps[NAMES.index("left wrist")]
    assert read(Target(parse_area("pixel:41,22:left wrist"), "mean"), view) == wrist[5, 10]
    found = read(Target(parse_area("box:8,4,19,11:left wrist"), "mean"), view)
    assert found == pytest.approx(wrist[1:3, 2:5].mean(), rel=1e-12)


def test_masks_name_a_class_behind_their_file(tmp_path):
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[8:16, 20:32] = 1
    Image.fromarray(mask).save(tmp_path / "person.png")
    view = view_of(some_maps(2))
    area = parse_area(f"mask:{tmp_path / 'person.png'}:right knee")
    knee = view.heat_maps[NAMES.index("right knee")]
    assert str(area) == "mask:person.png:right knee"
    assert read(Target(area, "mean"), view) == pytest.approx(knee[2:4, 5:8].mean(), rel=1e-12)


@pytest.mark.parametrize("text", ["joint:nose", "joint:left wrist:1,2,30,40"])
def test_words(text):
    assert str(parse_area(text)) == text


@pytest.mark.parametrize("place", [":1,2,3,4", "nose:1,2,3", "nose:a", "a:1,2,3,4,5"])
def test_words_that_are_no_joint(place):
    with pytest.raises(GstoVizError, match="is not a target; write joint:NAME"):
        parse_area(f"joint:{place}")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(Peak("nose")), "joints do not exclude one another, so heat maps have no margins"),
        (Target(Peak("hand"), "mean"), "there is no joint 'hand'; choose one of nose, left eye"),
        (Target(Peak("nose", (0, 0, 80, 9)), "mean"), "x=80 lies outside axis 1 of the image"),
        (Target(Peak("nose", (9, 9, 8, 9)), "mean"), "box:9,9,8,9:nose is empty"),
        (Target(parse_area("pixel:1,2"), "mean"), "the network predicts no class here; say which"),
        (Target(parse_area("region:nose"), "mean"), "there are no regions at all"),
        (Target(parse_area("class:nose"), "mean"), "there are no classes at all"),
    ],
)
def test_targets_that_heat_maps_do_not_have(target, message):
    with pytest.raises(GstoVizError, match=re.escape(message)):
        read(target, view_of(some_maps()))


def test_networks_without_heat_maps_have_no_joints():
    view = replace(view_of(some_maps()), heat_maps=None)
    with pytest.raises(GstoVizError, match="this network has no heat maps of joints"):
        resolve(Target(Peak("nose"), "mean"), view, (1, 17, 16, 20))


def test_gradients_are_what_small_steps_say(live):
    model, image, view = live
    entries = resolve(Target(Peak("left hip", (8, 8, 60, 50)), "mean"), view, (1, 17, 16, 20))

    def score(pixels):
        return entries.scores(model(pixels).logits[0].flatten(1))[0]

    asked = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(asked), asked)
    step = torch.randn(image.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        moved = (score(image + 1e-6 * step) - score(image - 1e-6 * step)) / 2e-6
    assert float((gradient * step).sum()) == pytest.approx(float(moved), rel=1e-4)


def test_what_branches_add_gives_the_heat_map(live):
    model, image, view = live
    seen, joint = head_pass(model, image), NAMES.index("right ankle")
    entries = resolve(Target(Peak("right ankle"), "mean"), view, (1, 17, 16, 20))
    row, column = divmod(int(entries.cell[0]), 20)
    baseline = zero_baseline(model)
    found = branch_shapley(seen, baseline, entries)
    value = view.heat_maps[joint].max()
    assert view.heat_maps[joint, row, column] == value
    # By hand: bias and branches before the ReLU, then the classifier of this joint alone.
    hidden = seen.head.bias + sum(one[0, :, row, column] for one in seen.contributions)
    weights = seen.head.classifier[joint]
    own = float(weights @ hidden.relu() + seen.head.classifier_bias[joint])
    assert own == pytest.approx(value, rel=1e-9)
    assert float(found.present[0]) == pytest.approx(value, rel=1e-9)
    absent = float(found.absent[0])
    assert found.psi[:, 0].sum() + absent == pytest.approx(value, rel=1e-9)
    assert found.phi[:, 0].sum() == pytest.approx(1)
    maps = shapley_maps(seen, baseline, joint)
    np.testing.assert_allclose(maps[:, row, column], found.psi[:, 0], atol=1e-9)


def three_persons():
    """(H, W) labels and instances: a person, a smaller one that covers part of it, a thin one."""
    instances = np.zeros(SIZE, dtype=np.int32)
    instances[6:50, 10:40], instances[30:44, 33:45], instances[3:60, 61:64] = 1, 2, 3
    return (instances > 0).astype(np.uint8), instances


def test_persons_are_asked_where_their_heat_maps_peak_by_all_orders(live):
    """Literal loops: pixels to peaks, the network's own head per coalition, all 24 orders."""
    model, image, view = live
    labels, instances = three_persons()
    regions = find_regions(labels, instances)
    places = find_head(model).channels
    features = (torch.full((1, count, 1, 1), 0.1, dtype=torch.float64) for count in places)
    baseline = Baseline("a tenth", tuple(features))
    table = region_shapley(model, image, regions, baseline).table
    seen, module = head_pass(model, image), model.get_submodule(find_head(model).module)
    coalitions = {}
    for present in itertools.product((False, True), repeat=4):
        parts = zip(present, seen.branches, baseline.features, strict=True)
        with torch.no_grad():
            maps = module([own if held else out.expand(own.shape) for held, own, out in parts])
        coalitions[present] = maps[0].numpy()
    for k in range(len(regions)):
        peaks = []
        for own in view.heat_maps:
            cells = {(y // STRIDE, x // STRIDE) for y, x in np.argwhere(regions.ids == k + 1)}
            peaks.append(max(cells, key=lambda cell, own=own: own[cell]))
        score = {
            present: np.mean([maps[j][cell] for j, cell in enumerate(peaks)])
            for present, maps in coalitions.items()
        }
        expected = np.zeros(4)
        for order in itertools.permutations(range(4)):
            present = [False] * 4
            for branch in order:
                before = score[tuple(present)]
                present[branch] = True
                expected[branch] += (score[tuple(present)] - before) / 24
        row = table.iloc[k]
        assert row["margin"] == pytest.approx(score[True, True, True, True], rel=1e-9)
        assert row["margin_base"] == pytest.approx(score[False, False, False, False], rel=1e-9)
        np.testing.assert_allclose([row[f"psi_{r}"] for r in range(4)], expected, atol=1e-9)
    assert np.abs(table[[f"psi_{r}" for r in range(4)]].to_numpy()).min() > 1e-6


def test_persons_are_asked_about_one_joint_each():
    labels, instances = three_persons()
    regions, maps = find_regions(labels, instances), some_maps(4)
    joints = np.arange(3, 3 + len(regions))
    entries = peak_entries(regions, maps, joints=joints)
    scores = entries.scores(torch.from_numpy(maps).flatten(1)).numpy()
    for k, joint in enumerate(joints):
        here = {(y // STRIDE, x // STRIDE) for y, x in np.argwhere(regions.ids == k + 1)}
        assert scores[k] == max(maps[joint][cell] for cell in here)
    with pytest.raises(GstoVizError, match="class 17 lies outside axis 1"):
        peak_entries(regions, maps, joints=np.full(len(regions), 17))


def test_of_equal_peaks_the_first_cell_counts_and_no_region_has_no_score():
    labels, instances = three_persons()
    flat = np.ones((17, *(side // STRIDE for side in SIZE)))
    regions = find_regions(labels, instances)
    entries = peak_entries(regions, flat)
    for k in range(len(regions)):
        first = min(y // STRIDE * 20 + x // STRIDE for y, x in np.argwhere(regions.ids == k + 1))
        assert set(entries.cell[entries.target == k]) == {first}
    nothing = find_regions(np.full(SIZE, IGNORE, dtype=np.uint8))
    assert peak_entries(nothing, flat).scores(torch.from_numpy(flat).flatten(1)).shape == (0,)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint of joints, a picture, and labels that no such network predicts."""
    folder = tmp_path_factory.mktemp("joints")
    model = network(NETWORKS[1])
    gains = calibrate(model, [torch.randn(3, *SIZE)])
    info = ModelInfo("tiny", NETWORKS[1], COCO_JOINTS.classes, gains=gains)
    save_checkpoint(model, folder / "pose.safetensors", info=info)
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(folder / "labels.png")
    return folder


def attribute(files, *words):
    given = ("attribute", files / "pose.safetensors", files / "photo.png", "--device", "cpu")
    return main([*map(str, (*given, "--steps", 2, "--quiet", "--method", "grad_cam", *words))])


def test_the_command_explains_a_joint(files, tmp_path, capsys):
    target = ("--target", "joint:Left_Wrist:8,8,60,50", "--json", "-")
    assert attribute(files, *target, "--out", tmp_path / "run") == 0
    rows = json.loads(capsys.readouterr().out)
    exact = [row for row in rows if row["method"] == "shapley"]
    assert all(row["sum"] == pytest.approx(row["expected"], abs=1e-5) for row in exact)
    found = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert found["request"]["score"] == "mean"
    assert found["score_unit"].startswith("heat map")
    with np.load(tmp_path / "run" / "maps.npz") as maps:
        whole = sum(maps[f"shapley/zero/branch{r}"].astype(np.float64) for r in range(4))
    zero = next(row for row in exact if row["baseline"] == "zero")
    assert np.abs(whole - zero["expected"]).min() == pytest.approx(0, abs=1e-4)
    assert (tmp_path / "run" / "figure.png").is_file()


def test_figures_of_heat_maps_speak_of_neither_margins_nor_logits():
    words = [
        color_words(METHODS, HEAT_MAP),
        *(scored(row.axis, HEAT_MAP) for row in METHODS.values()),
    ]
    assert not [text for text in words if "margin" in text or "logit" in text]
    assert "red raises the heat map of a cell" in words[0]
    assert color_words(METHODS, "margin").count("margin") > 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "joint:nose", "--score", "margin"), "heat maps have no margins"),
        (("--target", "pixel:1,2"), "the network predicts no class here"),
        (("--target", "joint:nose", "--labels"), "--labels is for networks that predict"),
    ],
)
def test_what_a_pose_network_is_not_asked(files, tmp_path, capsys, words, message):
    more = (files / "labels.png",) if words[-1] == "--labels" else ()
    assert attribute(files, *words, *more, "--out", tmp_path / "none") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
