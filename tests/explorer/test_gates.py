"""Numbers of the page "Gates", by loops; networks with a gate held, by their own layers."""

import base64
import copy
import csv
import io
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gsto_viz.capture import Capture
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import render_scene
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.exports.figures import gates_sheet, marks_at, view_figure
from gsto_viz.explorer.exports.files import drawn
from gsto_viz.explorer.exports.gates import gates_exports
from gsto_viz.explorer.shown import cut_regions
from gsto_viz.explorer.values.gate_matrix import (
    analysed_selectivity,
    gate_matrix,
)
from gsto_viz.explorer.values.gate_tiles import gate_key, gate_of_tile, gate_viewer_data
from gsto_viz.explorer.values.gates import (
    ALL,
    PLAIN,
    Held,
    first_gate,
    gate_choice,
    gate_histogram,
    gate_options,
    gate_places,
    gate_table,
    gated_letters,
    gates_at,
    group_title,
    held_change,
    inspect_held,
    mean_gate,
    means_by_class,
    means_by_size,
    members,
    region_gates,
)
from gsto_viz.explorer.values.probe import Point
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.look import Look
from gsto_viz.models import load_checkpoint
from gsto_viz.models.fusion import Transition
from gsto_viz.models.gates import GatedScaleTransfer
from gsto_viz.network import open_network
from gsto_viz.regions import prepare_regions, region_arrays
from gsto_viz.stats.inference import Estimate
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.types import IGNORE

GATES = (
    "stage4.m1.gate[0->2]", "stage4.m1.gate[2->0]", "stage2.m0.gate[1->0]", "transition3.gate",
    "stage4.m1.gate[3->0]", "transition2.gate",
)  # fmt: skip
SOURCES = (0, 2, 1, 2, 3, 1)


def gated(inspection: Look, limits: tuple[float, float] = (0.5, 1.0)) -> Look:
    """Give an inspection gates with some cells at the lower and some near the upper end."""
    rng = np.random.default_rng(7)
    low, high = limits
    gates = {}
    for name, source in zip(GATES, SOURCES, strict=True):
        values = low + (high - low) * rng.random(inspection.raw[source].shape)
        values[0, 0], values[-1, -1] = low, high - 0.04 * (high - low)
        gates[name] = values.astype(np.float32)
    return replace(inspection, gates=gates, gate_range=limits)


@pytest.fixture
def shown(made_up):
    view = made_up()
    return replace(view, inspections=view.inspections | {"B": gated(view.inspections["B"])})


@pytest.fixture(scope="module")
def network(tiny_files):
    """A gated network whose logits differ from place to place: weights and statistics renewed."""
    model = load_checkpoint(tiny_files["gated"])
    image = image_to_tensor(render_scene(0, 0, 64, 128).image).unsqueeze(0)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()(image)
    return model.eval()


def test_gates_are_ordered_by_stage_source_and_target(shown):
    places = gate_places(shown.inspections["B"])
    assert [place.name for place in places] == [
        "stage2.m0.gate[1->0]", "stage4.m1.gate[0->2]", "stage4.m1.gate[2->0]",
        "stage4.m1.gate[3->0]", "transition2.gate", "transition3.gate",
    ]  # fmt: skip
    assert [place.arrow for place in places] == [
        "/8 → /4", "/4 → /16", "/16 → /4", "/32 → /4", "/8 → /16", "/16 → /32",
    ]  # fmt: skip
    assert [group_title(p.group) for p in places[1:5]] == ["Stage 4, module 1"] * 3 + [
        "Transitions"
    ]
    assert first_gate(places) == "stage4.m1.gate[3->0]"
    assert first_gate(places[4:]) == "transition3.gate"
    assert gated_letters(shown) == ("B",)


@pytest.mark.parametrize("limits", [(0.5, 1.0), (0.0, 1.0)])
def test_the_table_counts_cells(made_up, limits):
    inspection = gated(made_up().inspections["A"], limits)
    table = gate_table(inspection).assign(here=gates_at(inspection, Point(100, 50)))
    table = table.set_index("gate")
    for name, values in inspection.gates.items():
        cells = [float(v) for row in values for v in row]
        low, high = limits
        row = table.loc[name]
        mean = math.fsum(cells) / len(cells)
        assert row["mean"] == pytest.approx(mean)
        spread = math.fsum((v - mean) ** 2 for v in cells) / len(cells)
        assert row["sd"] == pytest.approx(math.sqrt(spread))
        assert (row["lowest"], row["highest"]) == (min(cells), max(cells))
        tied = sum(v <= low + 1e-6 for v in cells) / len(cells)
        near = sum(v >= high - 0.05 * (high - low) for v in cells) / len(cells)
        assert (row["at_lower_end"], row["near_upper_end"]) == (tied, near)
        assert tied > 0
        assert near > 0
        stride = int(row["from"])
        assert row["here"] == values[50 // stride, 100 // stride]


def test_the_histogram_covers_the_range_of_the_form(shown):
    inspection = shown.inspections["B"]
    one = gate_histogram(inspection, GATES[0], (0.5, 1.0))
    assert (one["left"].iloc[0], one["right"].iloc[-1]) == (0.5, 1.0)
    assert one["share"].sum() == pytest.approx(1)
    values = inspection.gates[GATES[0]]
    for row in one.itertuples():
        inside = [row.left <= float(v) < row.right for v in values.ravel()]
        assert row.share == pytest.approx(np.mean(inside), abs=2 / values.size)
    every = gate_histogram(inspection, ALL, (0.5, 1.0))
    cells = [g.size for g in inspection.gates.values()]
    shares = [gate_histogram(inspection, name, (0.5, 1.0))["share"] for name in inspection.gates]
    np.testing.assert_allclose(every["share"], np.average(shares, axis=0, weights=cells))
    assert gate_histogram(inspection, "stage9.m0.gate[0->0]", (0, 1)).empty
    means = [float(g.mean(dtype=np.float64)) for g in inspection.gates.values()]
    assert mean_gate(inspection, ALL) == pytest.approx(sum(means) / len(means))


def test_means_over_regions_by_pixel_loops(shown):
    regions, inspection = cut_regions(shown), shown.inspections["B"]
    found = regions.regions
    name, stride = "stage4.m1.gate[2->0]", 16
    gate = inspection.gates[name]
    band = found.distance_px <= 8
    loops = []
    for number in range(1, len(found) + 1):
        inside = found.ids == number
        core = inside & ~band
        if found.part[number - 1] == "core":
            inside = core
        rows, columns = np.nonzero(inside)
        picked = [float(gate[y // stride, x // stride]) for y, x in zip(rows, columns, strict=True)]
        loops.append(math.fsum(picked) / len(picked))
    means = region_gates(inspection, regions, name)
    np.testing.assert_allclose(means, loops, rtol=1e-6)
    each = [region_gates(inspection, regions, gate) for gate in inspection.gates]
    np.testing.assert_allclose(region_gates(inspection, regions, ALL), np.mean(each, axis=0))

    by_size = means_by_size({"B": means}, regions)
    by_class = means_by_class({"B": means}, regions, shown.classes)
    assert by_size["regions"].sum() == by_class["regions"].sum() == found.qualifies.sum()
    for row in by_size.itertuples():
        picked = [
            loops[k]
            for k in range(len(found))
            if found.qualifies[k] and 4**row.octave <= found.area_px[k] < 4 ** (row.octave + 1)
        ]
        assert (row.regions, row.size) == (
            len(picked),
            f"{2**row.octave} to {2 ** (row.octave + 1)}",
        )
        assert row.mean == pytest.approx(sum(picked) / len(picked))
    for _, row in by_class.iterrows():
        k = shown.classes.names.index(row["class"])
        picked = [m for m, c in zip(loops, found.class_id, strict=True) if c == k]
        assert row["regions"] <= len(picked)


def test_every_gate_has_its_tile(shown):
    regions = cut_regions(shown)
    data = gate_viewer_data(shown, regions, "B", GATES[0], None)
    assert json.loads(json.dumps(data)) == data
    titles = [row["title"] for row in data["rows"]]
    assert titles == [
        "Image", "A: a - no gate maps on its transfers", "B: b", "Stage 2, module 0",
        "Stage 4, module 1", "Transitions",
    ]  # fmt: skip
    tiles = {tile["key"]: tile for row in data["rows"] for tile in row["tiles"]}
    for name, values in shown.inspections["B"].gates.items():
        tile = tiles[gate_key("B", name)]
        numbers = np.frombuffer(base64.b64decode(tile["numbers"]), "<f4")
        np.testing.assert_array_equal(numbers, values.ravel())
        assert (tile["low"], tile["high"], tile["colors"]) == (0.5, 1.0, "gate")
        assert gate_of_tile(tile["key"]) == name
        if "->" in name:
            source, target = name[-5:-1].split("->")
            assert (tile["row"], tile["column"]) == (int(source) + 1, int(target) + 1)
    assert gate_key("B", GATES[0]) in data["chosen"]
    places = [(tile["row"], tile["column"]) for tile in data["rows"][-1]["tiles"]]
    assert places == [(1, 1), (2, 1)]


@pytest.mark.parametrize("key", ["prediction", "gate-C-x", "", "gate-"])
def test_other_tiles_are_no_gates(key):
    assert gate_of_tile(key) is None


def test_an_image_without_labels_shows_the_other_prediction(made_up):
    view = made_up(labelled=False)
    view = replace(view, inspections=view.inspections | {"A": gated(view.inspections["A"])})
    data = gate_viewer_data(view, cut_regions(view), "A", GATES[0], None)
    keys = [tile["key"] for tile in data["rows"][0]["tiles"]]
    assert keys == ["input", "predictionB", "predictionA"]


def by_hand(network, image, gate, value):
    """The head's logits when the gate's own module is replaced by one that gives a constant."""

    class Held(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *inputs):
            return torch.full_like(self.inner(*inputs), value)

    place = network.taps()[gate].module
    parent = network.get_submodule(place.rpartition(".")[0])
    name = place.rpartition(".")[2]
    inner = getattr(parent, name)
    setattr(parent, name, Held(inner))
    try:
        return open_network(network).look(image, logits=True)
    finally:
        setattr(parent, name, inner)


@pytest.mark.parametrize("gate", ["stage4.m0.gate[3->0]", "transition3.gate"])
def test_holding_a_gate_is_a_constant_in_its_place(network, gate):
    image = render_scene(1_000_000, 0, 64, 128).image
    plain = open_network(network).look(image, logits=True)
    np.testing.assert_array_equal(inspect_held(network, image, PLAIN, 0.9).logits, plain.logits)
    held = inspect_held(network, image, [gate], 0.9)
    expected = by_hand(network, image, gate, 0.9)
    np.testing.assert_allclose(held.logits, expected.logits, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(held.prediction, expected.prediction)
    assert set(np.unique(held.gates[gate]).tolist()) == {np.float32(0.9)}
    assert np.abs(held.logits - plain.logits).max() > 1e-4
    again = open_network(network).look(image, logits=True)
    np.testing.assert_array_equal(again.logits, plain.logits)


def without_gates(network):
    """A copy of the network whose transfers carry their source as it is."""
    twin = copy.deepcopy(network)
    for module in list(twin.modules()):
        if isinstance(module, Transition):
            module.gate = None
        for name, child in list(module.named_children()):
            if isinstance(child, GatedScaleTransfer):
                module._modules[name] = child.transfer
    return twin


def confusion_by_loops(activity, regions):
    """SCI of one image: every pair of regions an octave apart, by a loop, and their number."""
    found, wrong = regions.regions, []
    q = region_arrays(regions, activity)["q"]
    for x in range(len(found)):
        for y in range(len(found)):
            if not (found.qualifies[x] and found.qualifies[y]) or np.isnan(q[x] + q[y]):
                continue
            if found.area_px[y] >= 4 * found.area_px[x]:
                wrong.append(1.0 if q[y] < q[x] else 0.5 if q[y] == q[x] else 0.0)
    return (math.fsum(wrong) / len(wrong) if wrong else None), len(wrong)


def test_gates_held_at_one_are_a_network_without_gates(network):
    sample = render_scene(1_000_000, 0, 128, 256)
    gates = tuple(open_network(network).look(sample.image).gates)
    plain = inspect_held(network, sample.image, PLAIN, 0.0)
    held = inspect_held(network, sample.image, gates, 1.0)
    bare = without_gates(network)
    with torch.no_grad():
        logits = bare(image_to_tensor(sample.image).unsqueeze(0)).logits[0].numpy()
    np.testing.assert_allclose(held.logits, logits, rtol=1e-5, atol=1e-5)
    assert np.abs(plain.logits - logits).max() > 1e-4

    regions = prepare_regions(sample.labels, plain.strides, sample.instances, IGNORE)
    change = held_change(plain, held, CAMVID_CLASSES, sample.labels, regions)
    with Capture(bare, "stage4.branch*", reduce="gain_fixed") as maps, torch.no_grad():
        bare(image_to_tensor(sample.image).unsqueeze(0))
        without = [maps[f"stage4.branch{r}"][0].numpy() for r in range(4)]
    for estimate, activity in zip(change.sci, (plain.activity, without), strict=True):
        value, pairs = confusion_by_loops(activity, regions)
        assert (estimate.value, estimate.n_pairs) == (pytest.approx(value), pairs)
        assert pairs > 20
    found = regions.regions
    for row in change.sizes.itertuples():
        low, high = map(int, row.size.split(" to "))
        for prediction, mean in ((plain.prediction, row.before), (held.prediction, row.after)):
            recalls = [
                (prediction[found.ids == k + 1] == found.class_id[k]).mean()
                for k in range(len(found))
                if found.qualifies[k] and low**2 <= found.area_px[k] < high**2
            ]
            assert (len(recalls), np.mean(recalls)) == (row.regions, pytest.approx(mean))


def test_the_matrix_by_loops(shown):
    inspection, regions = shown.inspections["B"], cut_regions(shown)
    found, matrix = regions.regions, gate_matrix(inspection, regions).edges.set_index("edge")
    taps = {"2->0": ["stage4.m1.gate[2->0]"], "0->2": ["stage4.m1.gate[0->2]"]}
    assert set(matrix.index) == {"1->0", "0->2", "2->0", "3->0", "1->2", "2->3"}
    for edge, (tap,) in taps.items():
        means, wins, pairs = region_gates(inspection, regions, tap), 0.0, 0
        for x in range(len(found)):
            for y in range(len(found)):
                both = found.qualifies[x] and found.qualifies[y]
                if both and found.area_px[y] >= 4 * found.area_px[x]:
                    pairs += 1
                    wins += 1.0 if means[y] > means[x] else 0.5 if means[y] == means[x] else 0.0
        sign = 1 if edge == "0->2" else -1
        assert matrix.loc[edge, "pairs"] == pairs > 0
        assert matrix.loc[edge, "G"] == pytest.approx((2 * wins / pairs - 1) * sign)
        assert matrix.loc[edge, "mean"] == pytest.approx(inspection.gates[tap].mean(dtype=float))


def test_an_analysis_is_found_by_its_checkpoint(tmp_path):
    known = {
        "value": -0.1,
        "low": -0.2,
        "high": -0.05,
        "n_images": 24,
        "n_pairs": 9,
        "reason": None,
    }
    models = {"A": {"sha256": "a", "gates": None}, "B": {"sha256": "b"}}
    models["B"]["gates"] = {"selectivity": known}
    for name, text in (("broken", "{"), ("other", "[1]"), ("good", json.dumps({"models": models}))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(text)
    folders = [(name, tmp_path / name) for name in ("gone", "broken", "other", "good")]
    assert analysed_selectivity("b", folders) == ("good", Estimate(**known))
    assert analysed_selectivity("a", folders) is None
    assert analysed_selectivity("c", folders) is None


def test_groups_are_what_their_names_say(shown):
    places = gate_places(shown.inspections["B"])
    for name in gate_options(places):
        chosen = {place.name for place in members(places, name)}
        by_hand = set()
        for tap, source in zip(GATES, SOURCES, strict=True):
            target = source + 1 if "transition" in tap else int(tap[-2])
            belongs = {
                "*": True,
                "up": target < source,
                "down": target > source,
                "stage4": tap.startswith("stage4"),
                "transitions": tap.startswith("transition"),
            }
            if belongs.get(name, tap == name):
                by_hand.add(tap)
        assert chosen == by_hand
    words = gate_options(places)
    assert list(words)[:3] == ["*", "up", "down"]
    assert words["up"] == "coarse to fine, 3 gates"
    assert words["stage4.m1.gate[3->0]"] == "/32 → /4, stage 4, module 1"
    assert not any("gate[" in text for text in words.values())


def test_a_gate_that_is_not_there_leaves_no_hook(network):
    image = render_scene(1_000_000, 0, 64, 128).image
    before = sum(len(m._forward_hooks) for m in network.modules())
    with pytest.raises(GstoVizError, match="no place"):
        inspect_held(network, image, ["stage4.m0.gate[3->0]", "stage9.m0.gate[0->0]"], 1.0)
    assert sum(len(m._forward_hooks) for m in network.modules()) == before


def test_changes_are_counted_by_loops(made_up):
    view = made_up()
    a, b = view.inspections["A"], view.inspections["B"]
    change = held_change(a, b, view.classes, view.sample.labels, cut_regions(view))
    before, after = a.prediction.ravel().tolist(), b.prediction.ravel().tolist()
    pairs = list(zip(before, after, strict=True))
    assert change.share == sum(x != y for x, y in pairs) / len(pairs)
    table = change.classes.set_index("class")
    for k, name in enumerate(view.classes.names):
        row = table.loc[name]
        assert row["before"] == before.count(k)
        assert row["after"] == after.count(k)
        assert row["left"] == sum(x == k != y for x, y in pairs)
        assert row["joined"] == sum(x != k == y for x, y in pairs)
        steps = b.logits[k].astype(float) - a.logits[k].astype(float)
        assert row["logit"] == pytest.approx(steps.mean())
    moved = (change.classes["left"] + change.classes["joined"]).tolist()
    assert moved == sorted(moved, reverse=True)
    labels = view.sample.labels.ravel().tolist()
    right = [
        sum(x == y for x, y in zip(labels, guess, strict=True)) / len(labels)
        for guess in (before, after)
    ]
    assert change.accuracy == pytest.approx(right)
    cell = [float(b.logits[k, 3, 5]) - float(a.logits[k, 3, 5]) for k in range(11)]
    assert change.logit_change[3, 5] == pytest.approx(math.sqrt(sum(v * v for v in cell) / 11))


def test_nothing_changes_against_itself(made_up):
    view = made_up(labelled=False)
    inspection = gated(view.inspections["A"])
    change = held_change(inspection, inspection, view.classes, None, cut_regions(view))
    assert (change.share, change.mean_change, change.largest_change) == (0, 0, 0)
    assert change.accuracy is None
    view = replace(view, inspections=view.inspections | {"A": inspection})
    held = Held("A", "A with a gate held", inspection, change)
    data = gate_viewer_data(view, cut_regions(view), "A", GATES[0], held)
    tiles = {tile["key"]: tile for row in data["rows"] for tile in row["tiles"]}
    assert tiles["changed"]["title"] == "Changed pixels (0.00 %)"
    assert (tiles["moved"]["low"], tiles["moved"]["high"]) == (0.0, 1.0)


def exports_of(view, state):
    choice = gate_choice(view, state)
    held = None
    if choice.value is not None:
        a, b = view.inspections["A"], view.inspections["B"]
        change = held_change(a, b, view.classes, view.sample.labels, cut_regions(view))
        held = Held(choice.subject, choice.what, b, change)
    made = gates_exports(view, cut_regions(view), state, choice, lambda: held)
    return {file.name: file.make for file in made.all_files()}, choice, held


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_exports_hold_what_the_page_shows(shown):
    state = ViewState(x=77, y=31, gate=GATES[1], force=True, value=0.75)
    files, choice, held = exports_of(shown, state)
    assert (choice.subject, choice.gates, choice.value) == ("B", (GATES[1],), 0.75)
    inspection = shown.inspections["B"]
    rows = rows_of(files["gates.csv"]())
    assert [row["gate"] for row in rows] == [p.name for p in gate_places(inspection)]
    for row in rows:
        values = inspection.gates[row["gate"]]
        stride = int(row["from stride (px)"])
        assert float(row["mean gate"]) == pytest.approx(values.mean(dtype=float), rel=1e-12)
        assert float(row["gate at the probe"]) == values[31 // stride, 77 // stride]
        assert (row["model"], row["sha256"]) == ("B", "b" * 64)
    found = cut_regions(shown).regions
    rows = rows_of(files["means.csv"]())
    for by in ("size", "class"):
        own = [int(row["regions"]) for row in rows if row["by"] == by]
        assert sum(own) == found.qualifies.sum()
    rows = rows_of(files["held.csv"]())
    assert sum(int(row["before (px)"]) for row in rows) == 90 * 150
    assert {row["what"] for row in rows} == {"B with /16 → /4, stage 4, module 1 held at 0.75"}
    with np.load(io.BytesIO(files["maps.npz"]()), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(
            arrays["B.stage4.m1.gate.2to0"], inspection.gates["stage4.m1.gate[2->0]"]
        )
        np.testing.assert_array_equal(arrays["B.held.changed"], held.change.changed)
        assert json.loads(str(arrays["about"]))["held"] == choice.what
    pixels = np.array(Image.open(io.BytesIO(files["tiles/B.stage4.m1.gate.2to0.png"]())))
    assert pixels.shape == (*inspection.gates[GATES[1]].shape, 3)
    # The lower end of the range is the darkest colour of viridis.
    assert pixels[0, 0].tolist() == [68, 1, 84]
    view = json.loads(files["view.json"]())
    assert view["page"] == "gates"
    assert view["numbers"]["held"]["share"] == held.change.share
    assert len(view["numbers"]["gates"]) == 6


def test_the_view_is_drawn_as_the_page_shows_it(shown):
    state = ViewState(x=77, y=31, gate=GATES[1], force=True, value=0.75)
    _, choice, held = exports_of(shown, state)
    regions = cut_regions(shown)
    marks = marks_at(regions, Point(77, 31), outline=True)
    sheet = gates_sheet(shown, marks, choice, held)
    data = gate_viewer_data(shown, regions, "B", GATES[1], held)
    tiles = [tile for row in data["rows"] for tile in row["tiles"]]
    panels = [panel for row in sheet.rows for panel in row.panels]
    assert [panel.title for panel in panels] == [tile["title"] for tile in tiles]
    inspection = shown.inspections["B"]
    places = gate_places(inspection)
    for place, panel in zip(places, panels[-len(places) :], strict=True):
        np.testing.assert_array_equal(panel.heat.values, inspection.gates[place.name])
        assert (panel.heat.low, panel.heat.high, panel.heat.colors) == (0.5, 1.0, "viridis")
        assert panel.heat.stride == (4, 8, 16, 32)[place.source]
        assert panel.chosen == (place.name == GATES[1])
        if place.group != "transitions":
            assert panel.cell == (place.source, place.target)
    named = {panel.title: panel for panel in panels}
    np.testing.assert_array_equal(named["Prediction B, held"].labels, held.inspection.prediction)
    changed = next(p for title, p in named.items() if title.startswith("Changed pixels"))
    np.testing.assert_array_equal(changed.labels != 255, held.change.changed)
    assert any("no gate" in row.title for row in sheet.rows)
    assert "Bars of gates run from 0.5 to 1" in sheet.caption
    svg = drawn(lambda: view_figure(shown, sheet), "svg").content
    text = " ".join("".join(ET.fromstring(svg).itertext()).split())
    # The map and the headline of what is held: once in the figure, once in its description.
    assert text.count("/16 → /4") == 4
    assert held.what in text


def test_what_a_view_is_about(shown, made_up):
    assert gate_choice(made_up(), ViewState()) is None
    choice = gate_choice(shown, ViewState(gate="nonsense", value=0.3))
    assert (choice.gate, choice.value) == ("stage4.m1.gate[3->0]", None)
    every = gate_choice(shown, ViewState(gate=ALL, force=True, value=0.3))
    assert set(every.gates) == set(GATES)
    assert every.what == "B with all 6 gates held at 0.3"
    files, _, _ = exports_of(shown, ViewState(gate=ALL))
    assert "held.csv" not in files
    assert json.loads(files["view.json"]())["numbers"]["held"] is None
