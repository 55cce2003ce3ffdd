"""The cells that a pixel listens to: against loops, and as page, files and figures show them."""

import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from gsto_viz.calibrate import calibrate
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import render_scene
from gsto_viz.explorer.exports import figures as drawings
from gsto_viz.explorer.exports.explore import explore_exports
from gsto_viz.explorer.shown import cut_regions
from gsto_viz.explorer.values.probe import Point, heard_at, heard_cells, relation_arrows
from gsto_viz.explorer.values.tiles import viewer_data
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.explorer.views.explore import GONE, heard_html
from gsto_viz.models import ModelInfo, build_model, save_checkpoint
from gsto_viz.network import open_network
from gsto_viz.torch_utils import image_to_tensor

TAPS = {f"pyramid.relation[{number + 1}->{number}]": 4 << number for number in range(3)}


def window_by_loops(y: int, x: int, size: tuple[int, int], stride: int, k: int):
    """The pixels of each cell of a pixel's window, as sets; empty off the map."""
    step, (height, width) = 2 * stride, size
    cells: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for v in range(height):
        for u in range(width):
            cells.setdefault((v // step, u // step), set()).add((v, u))
    middle = next(at for at, pixels in cells.items() if (y, x) in pixels)
    for dy in range(-(k // 2), k // 2 + 1):
        for dx in range(-(k // 2), k // 2 + 1):
            yield cells.get((middle[0] + dy, middle[1] + dx), set())


def random_weights(size, stride, k, heads=2, seed=0):
    """Weights of a relation that are 0 off the map and sum to 1."""
    grid = [-(-side // stride) for side in size]
    weights = np.random.default_rng(seed).random((heads, k * k, *grid))
    for i, j in np.ndindex(*grid):
        pixels = window_by_loops(i * stride, j * stride, size, stride, k)
        weights[:, :, i, j] *= [bool(cell) for cell in pixels]
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("stride", "k"), [(4, 3), (16, 3), (8, 5), (16, 1)])
@pytest.mark.parametrize("size", [(33, 50), (45, 64)])
def test_cells_and_weights_of_a_pixel_are_those_of_loops(size, stride, k):
    weights = random_weights(size, stride, k)
    height, width = size
    for y, x in [(0, 0), (height - 1, width - 1), (height - 1, 0), (height // 2, width // 3)]:
        for head in (None, 0, 1):
            found = heard_cells(weights, Point(x, y), size, head)
            assert len(found) == k * k
            for number, pixels in enumerate(window_by_loops(y, x, size, stride, k)):
                cell = found.iloc[number]
                each = [float(one[number, y // stride, x // stride]) for one in weights]
                expected = sum(each) / len(each) if head is None else each[head]
                assert cell["weight"] == pytest.approx(expected, abs=1e-12)
                assert cell["inside"] == bool(pixels)
                box = {
                    (v, u)
                    for v in range(cell["y0"], cell["y1"])
                    for u in range(cell["x0"], cell["x1"])
                }
                assert box == pixels or not pixels
                assert (cell["row"] * 2 * stride, cell["column"] * 2 * stride) == (
                    cell["y0"],
                    cell["x0"],
                )
            assert found.loc[found["inside"], "weight"].sum() == pytest.approx(1, abs=1e-12)


@pytest.fixture(scope="module")
def relating():
    """An RSP whose embeddings are not 0, so that its weights differ from cell to cell."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("rsp-tiny", num_classes=11).eval()
        with torch.no_grad():
            for relation in model.head.relations:
                relation.rows.normal_(std=2.0)
                relation.columns.normal_(std=2.0)
        images = [image_to_tensor(render_scene(0, i, 128, 256).image) for i in range(2)]
        gains = calibrate(model, images)
    return model, gains


def looked(relating, image):
    model, gains = relating
    return open_network(model, gains=gains).look(image, logits=True, relations=True)


@pytest.fixture(scope="module")
def shown(made_up, relating):
    """B is an RSP, A has no relations."""
    view = made_up()
    b = replace(looked(relating, view.sample.image), name="b")
    return replace(view, inspections={**view.inspections, "B": b})


def test_a_network_gives_cells_off_the_map_nothing(shown):
    coarsest_first = [(tap, f"/{2 * stride} → /{stride}") for tap, stride in reversed(TAPS.items())]
    assert list(relation_arrows(shown).items()) == coarsest_first
    for tap, stride in TAPS.items():
        weights = shown.inspections["B"].relations[tap]
        assert weights.shape[2:] == (-(-90 // stride), -(-150 // stride))
        for point in (Point(0, 0), Point(149, 89), Point(75, 89), Point(64, 32)):
            cells = heard_cells(weights, point, shown.size)
            assert not cells.loc[~cells["inside"], "weight"].any()
            assert cells["weight"].sum() == pytest.approx(1, abs=1e-6)


def test_a_view_without_relations_has_nothing_of_them(made_up):
    view = made_up()
    assert heard_at(view, ViewState(), Point(3, 4)) == {}
    names = {file.name for file in explore_exports(view, cut_regions(view), ViewState()).files}
    assert "listening.csv" not in names
    rows = viewer_data(view, cut_regions(view), mode="percentile", difference=False)["rows"]
    assert not [tile for row in rows for tile in row["tiles"] if tile["kind"] == "heard"]


def test_the_relation_and_the_head_of_the_view_are_shown(shown):
    point, tap = Point(77, 31), "pyramid.relation[1->0]"
    weights = shown.inspections["B"].relations[tap][:, :, 31 // 4, 77 // 4]
    heard = heard_at(shown, ViewState(relation=tap, head=1), point)
    assert list(heard) == ["B"]
    np.testing.assert_allclose(heard["B"].cells["weight"], weights[1], rtol=1e-6)
    assert heard["B"].what == "/8 → /4, head 1"
    mean = heard_at(shown, ViewState(), point)["B"]
    assert (mean.relation, mean.what) == ("pyramid.relation[3->2]", "/32 → /16, mean of 4 heads")
    assert heard_at(shown, ViewState(head=4), point) == {}


def test_the_table_lies_as_the_window_does(shown):
    heard = heard_at(shown, ViewState(), Point(149, 89))["B"]
    root = ElementTree.fromstring(heard_html("B", heard))
    assert root.find("caption").text == "B: /32 → /16, mean of 4 heads (%)"
    rows = [[cell.text for cell in row] for row in root.iter("tr")]
    weights = heard.cells["weight"].to_numpy().reshape(3, 3)
    for i, j in np.ndindex(3, 3):
        # The last cell of the map: nothing lies below it or at its right.
        outside = i == 2 or j == 2
        assert rows[i][j] == ("-" if outside else f"{100 * weights[i, j]:.1f}")


def test_files_hold_the_cells_of_the_probe(shown, monkeypatch):
    state = ViewState(a="A", b="B", x=40, y=89, relation="pyramid.relation[2->1]", head=2)
    made = {file.name: file for file in explore_exports(shown, cut_regions(shown), state).files}
    rows = list(csv.DictReader(io.StringIO(made["listening.csv"].make().decode())))
    weights = shown.inspections["B"].relations["pyramid.relation[2->1]"][2, :, 89 // 8, 40 // 8]
    # 90 rows are 6 rows of cells of 16 px, and row 89 lies in the last: 2 x 3 cells are left.
    expected = [
        (16 * i, 16 * j, min(16 * i + 16, 90), 16 * j + 16) for i in (4, 5) for j in (1, 2, 3)
    ]
    columns = [f"{name} (px)" for name in ("y0", "x0", "y1", "x1")]
    assert [tuple(int(row[name]) for name in columns) for row in rows] == expected
    found = [float(row["weight (0..1)"]) for row in rows]
    np.testing.assert_allclose(found, weights[:6], rtol=1e-6)
    assert {(r["model"], r["x (px)"], r["y (px)"], r["head"]) for r in rows} == {
        ("B", "40", "89", "2")
    }
    saved = json.loads(made["view.json"].make())
    assert (saved["view"]["relation"], saved["view"]["head"]) == (state.relation, 2)
    assert [one["weight"] for one in saved["numbers"]["listening"]] == pytest.approx(found)

    figures = []
    draw = drawings.figure_view

    def keep(*args, **options):
        figures.append(draw(*args, **options))
        return figures[-1]

    monkeypatch.setattr(drawings, "figure_view", keep)
    made["view.svg"].make()
    (ax,) = (ax for ax in figures[0].axes if ax.get_label() == "B listens to")
    filled = [patch for patch in ax.patches if patch.get_alpha() is not None]
    drawn = [(p.get_y(), p.get_x(), p.get_y() + p.get_height(), p.get_x() + p.get_width())
             for p in filled]  # fmt: skip
    assert drawn == expected
    opacity = np.array([patch.get_alpha() for patch in filled])
    np.testing.assert_allclose(opacity / opacity.max(), weights[:6] / weights[:6].max(), rtol=1e-6)
    assert not any(ax.get_label() == "A listens to" for ax in figures[0].axes)


@pytest.fixture
def folder(checkpoints, relating):
    """The offered folder, with ``related.safetensors`` in it."""
    model, gains = relating
    info = ModelInfo(name="related", network="rsp-tiny", classes=CAMVID_CLASSES, gains=gains)
    save_checkpoint(model, checkpoints / "related.safetensors", info=info)
    return checkpoints


def tables_of(app) -> list[np.ndarray]:
    """The weights of each network on the page, percent."""
    html = [one.proto.body for one in app.get("html") if 'class="heard"' in one.proto.body]
    roots = [table for body in html for table in ElementTree.fromstring(f"<p>{body}</p>")]
    return [np.array([float(c.text) for c in root.iter("td") if c.text != "-"]) for root in roots]


def test_the_page_shows_what_the_clicked_pixel_listens_to(folder, open_app, address, buttons):
    pair = {"a": "related.safetensors", "b": "plain.safetensors", "x": "10", "y": "20"}
    app = open_app("explore", **pair, relation="pyramid.relation[1->0]", head="3").run()
    assert not app.exception
    assert not app.warning
    (before,) = tables_of(app)
    assert before.sum() == pytest.approx(100, abs=0.5)
    turn = app.session_state["probe_turn"]
    app.session_state["viewer"] = {"point": {"x": 300, "y": 255, "turn": turn}}
    app.run()
    (after,) = tables_of(app)
    assert after.size == 6
    assert after.sum() == pytest.approx(100, abs=0.5)
    assert {"relation": "pyramid.relation[1->0]", "head": "3"}.items() <= address(app).items()
    app.selectbox(key="head").set_value("mean").run()
    assert not app.exception
    assert "head" not in address(app)
    assert not np.allclose(tables_of(app)[0], after)
    assert sum("listens to" in one.value for one in app.markdown) == 1


def test_a_relation_that_no_network_has_is_said(folder, open_app):
    pair = {"a": "plain.safetensors", "b": "related.safetensors"}
    for more in ({"relation": "pyramid.relation[0->1]"}, {"head": "4"}):
        app = open_app("explore", **pair, **more).run()
        assert not app.exception
        assert [one.value for one in app.warning] == [GONE]
        assert len(tables_of(app)) == 1


def test_networks_without_relations_show_nothing_of_them(checkpoints, open_app):
    app = open_app("explore", relation="pyramid.relation[1->0]", head="1").run()
    assert not app.exception
    assert not app.warning
    assert tables_of(app) == []
    assert not any("listens to" in one.value for one in app.markdown)
    assert not any(one.key == "head" for one in app.selectbox)
