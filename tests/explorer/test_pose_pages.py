"""Every page with networks for pose: skeletons, persons as regions, joints as targets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import enliven
from streamlit.testing.v1 import AppTest

from gsto_viz.calibrate import calibrate
from gsto_viz.data import load_data
from gsto_viz.explorer.checkpoints import list_choices
from gsto_viz.explorer.exports.explore import explore_exports
from gsto_viz.explorer.exports.runs import records_csv
from gsto_viz.explorer.pictures import data_picture
from gsto_viz.explorer.shown import LETTERS, cut_regions, look, show_pair
from gsto_viz.explorer.values.attribution import ask_joint, entries_of
from gsto_viz.explorer.values.probe import Point, region_at
from gsto_viz.explorer.values.runs import read_log
from gsto_viz.explorer.values.tiles import person_box, skeleton_pictures
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.models import ModelInfo, build_model, initialize, load_checkpoint, save_checkpoint
from gsto_viz.train.folder import RunLog

NETWORKS = {"plain": "hrnet-pose-tiny", "gated": "gsto-hrnet-pose-tiny"}
DATA = "figures:count=2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two checkpoints of joints."""
    place = tmp_path_factory.mktemp("pose")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for key, name in NETWORKS.items():
            model = build_model(name)
            initialize(model, "kaiming")
            enliven(model)
            model.eval()
            gains = calibrate(model, [torch.randn(3, 64, 64)])
            info = ModelInfo(key, name, COCO_JOINTS.classes, gains=gains)
            save_checkpoint(model, place / f"{key}.safetensors", info=info)
    return place


@pytest.fixture(autouse=True)
def offered(folder, offer):
    """The explorer offers them, and figures as data."""
    offer(checkpoints=folder, data=DATA)


@pytest.fixture(scope="module")
def shown(folder):
    """Both networks on the first figure."""
    picture = data_picture(load_data(DATA), 0)
    choices = {one.name: one for one in list_choices(folder)[0]}
    pair = {"A": choices["plain"], "B": choices["gated"]}
    looks = {x: look(load_checkpoint(one.path), picture) for x, one in pair.items()}
    return show_pair(picture, pair, looks, dict.fromkeys(LETTERS, "0" * 64))


def person_of(shown, regions):
    """A pixel of the largest person, and the number of its region."""
    areas = np.where(regions.regions.instance_id > 0, regions.regions.area_px, 0)
    number = int(areas.argmax()) + 1
    y, x = np.argwhere(regions.regions.ids == number)[0]
    return Point(int(x), int(y)), number


def open_page(open_app, page, **query) -> AppTest:
    app = open_app(page, source="data", **query).run()
    assert not app.exception, app.exception[0].message
    assert not app.error
    return app


def said(app: AppTest) -> str:
    html = [one.proto.body for one in app.get("html")]
    return " ".join([*(text.value for text in app.markdown), *html]).replace("\\", "")


def test_skeletons_peak_inside_the_boxes_of_persons(shown):
    stride, people = 4, shown.sample.people
    for letter, one in zip(LETTERS, skeleton_pictures(shown)[1:], strict=True):
        assert one.title == f"Skeletons {letter}"
        maps = shown.inspections[letter].logits.astype(np.float32)
        assert one.skeletons.shape == (len(people), 17, 3)
        for person, found in zip(people, one.skeletons, strict=True):
            x, y, width, height = person.box
            for joint, (_, _, peak) in enumerate(found):
                inside = [
                    maps[joint, row, column]
                    for row in range(maps.shape[1])
                    for column in range(maps.shape[2])
                    if x <= stride * column <= x + width and y <= stride * row <= y + height
                ]
                assert peak == max(inside, default=peak)
    annotated = skeleton_pictures(shown)[0]
    np.testing.assert_array_equal(annotated.skeletons[0], people[0].joints)


def test_a_joint_is_asked_about_where_a_peaks_in_the_persons_box(shown):
    regions = cut_regions(shown)
    point, number = person_of(shown, regions)
    assert region_at(regions, point) == number
    wrist = COCO_JOINTS.classes.names.index("left wrist")
    asked = ask_joint(shown, regions, point, pick="region", target="left wrist")
    (cell,) = entries_of(asked, shown, shown.inspections["A"].logits.shape[1:]).cell
    maps = shown.inspections["A"].logits.astype(np.float32)
    people = [one for one in shown.sample.people if one.box == person_box(shown, regions, number)]
    assert len(people) == 1
    index = shown.sample.people.index(people[0])
    peak = shown.inspections["A"].skeletons[index, wrist, 2]
    assert maps[wrist].ravel()[cell] == peak
    assert asked.words.startswith("heat map of left wrist at x ")
    row, column = divmod(int(cell), maps.shape[2])
    assert asked.pin(point) == Point(4 * column, 4 * row)
    assert asked.pin(asked.pin(point)) is None
    anything = ask_joint(shown, regions, point, pick="pixel", target=None)
    assert anything.class_name in COCO_JOINTS.classes.names
    assert (anything.score, anything.unit) == ("mean", "heat map")


def test_every_file_of_the_page_explore_can_be_made(shown):
    regions = cut_regions(shown)
    point, _ = person_of(shown, regions)
    state = ViewState(x=point.x, y=point.y, pick="region")
    exports = explore_exports(shown, regions, state)
    made = {
        one.name: one.make() for one in exports.files if not one.name.endswith((".pdf", ".svg"))
    }
    made |= {one.name: one.make() for one in exports.tiles[:5]}
    assert all(made.values())
    assert {"tiles/annotated.png", "tiles/skeletonsA.png", "tiles/skeletonsB.png"} <= made.keys()
    assert made["scores.csv"].startswith(b"joint,A heat map,B heat map")


def test_explore_shows_skeletons_and_names_the_person(open_app, viewer_text, shown):
    regions = cut_regions(shown)
    point, number = person_of(shown, regions)
    app = open_page(open_app, "explore", x=str(point.x), y=str(point.y), pick="region")
    viewer = viewer_text(app)
    for title in ("Ground truth", "Annotated skeletons", "Skeletons A", "Skeletons B"):
        assert title in viewer
    assert "Prediction" not in viewer
    area = int(regions.regions.area_px[number - 1])
    assert "**person**, " in said(app)
    assert f"({area} px in all)" in said(app)
    assert f"the core of region {number}" in said(app)
    assert "Heat maps of joints, mean over the region" in said(app)
    assert "Branch maps: stage4.m0.branch*.pre (A), stage4.branch* (B);" in said(app)
    assert "softmax" not in said(app)


def test_attribution_asks_about_joints(open_app, address, shown):
    point, _ = person_of(shown, cut_regions(shown))
    query = {"x": str(point.x), "y": str(point.y), "target": "right knee"}
    app = open_page(open_app, "attribution", pick="region", **query)
    (picker,) = (box for box in app.selectbox if box.key == "target")
    assert picker.label == "Joint asked about"
    assert tuple(picker.options) == COCO_JOINTS.classes.names
    assert "Explained: the heat map of right knee at x " in said(app)
    assert "Square: the peak that is asked about." in said(app)
    table = app.dataframe[0].value
    exact = table[table["must be"].notna()]
    np.testing.assert_allclose(exact["sum"], exact["must be"], atol=1e-3)
    assert address(app)["score"] == "mean"
    assert "logit" not in said(app)


def test_gates_are_held_and_joints_move(open_app, viewer_text):
    app = open_page(open_app, "gates", force="1", value="0.5", gate="all")
    assert "Skeletons B, held" in viewer_text(app)
    assert "Prediction" not in viewer_text(app)
    text = said(app)
    assert "Heat maps move by" in text
    assert "another class" not in text


def test_runs_are_scored_by_ap(open_app, tmp_path, offer):
    (tmp_path / "run").mkdir()
    with RunLog(tmp_path / "run") as log:
        log.write("train", 10, epoch=0, loss=1.0, lr=0.1, images_per_s=4.0, seconds=9)
        for step, ap in ((10, 40.0), (20, 60.0), (30, 50.0)):
            log.write("val", step, epoch=step // 10, ap=ap, ap50=80.0)
    offer(runs=tmp_path)
    app = open_page(open_app, "runs")
    table = app.dataframe[0].value
    assert table[["best AP (%)", "at epoch", "last AP (%)"]].iloc[0].tolist() == [60.0, 2, 50.0]
    assert not [name for name in table if "mIoU" in name]
    assert "AP on the validation images by epoch" in said(app)
    logs = {"run": read_log(tmp_path / "run" / "log.jsonl")}
    assert logs["run"].damaged == 0
    assert records_csv(logs, "val").splitlines()[0].endswith(b"ap (%)")


@pytest.mark.parametrize("page", ["sizes", "scale_probe", "method", "runs"])
def test_other_pages_open(open_app, page):
    open_page(open_app, page)


@pytest.mark.parametrize("page", ["explore", "attribution", "gates", "sizes"])
def test_images_without_persons_say_what_is_left_out(open_app, page):
    app = open_app(page, source="scene").run()
    assert not app.exception, app.exception[0].message
    assert not app.error
    if page == "explore":
        assert "this image has no persons with such joints" in said(app)
    if page == "sizes":
        assert "Networks for pose predict no regions" in app.info[0].value
