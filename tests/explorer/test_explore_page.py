"""The page as Streamlit runs it, without a browser: checkpoints, links, uploads."""

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from gsto_viz.cli import main
from gsto_viz.words import RAW_BADGE

ENTRY = Path(__file__).parents[2] / "gsto_viz" / "explorer" / "entry.py"
GATED, PLAIN = "gated.safetensors", "plain.safetensors"


def page(query: dict[str, str] | None = None, path: Path = ENTRY) -> AppTest:
    app = AppTest.from_file(str(path), default_timeout=120)
    # The menu of the image is open: closed, its widgets are not there.
    app.session_state["image_menu"] = True
    for key, value in (query or {}).items():
        app.query_params[key] = value
    return app


def png(height: int = 64, width: int = 96) -> bytes:
    array = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def profile_of(app: AppTest) -> list[list[str]]:
    """The cells of the probe's table, row by row."""
    text = next(m.value for m in app.markdown if m.value.startswith("| stride"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n")[2:]]


def scores_of(app: AppTest) -> dict[str, list[float]]:
    """Class scores of A and B by class, as the probe panel shows them."""
    text = next(h.proto.body for h in app.get("html") if "<table" in h.proto.body)
    rows = [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(text)[1]]
    return {name: [float(value) for value in values] for name, *values in rows}


def test_without_any_checkpoint_the_page_says_what_to_do():
    app = page().run()
    assert not app.exception
    assert "gsto-viz app --checkpoints" in app.info[0].value
    assert len(app.image) == 0


def test_responses_by_size_follow_the_theme(checkpoints):
    app = page().run()
    assert not app.exception
    # Charts and no picture: a picture stays white in a dark page.
    assert not any("Mean percentile" in str(image.proto) for image in app.image)
    words = " ".join(str(chart.proto) for chart in app.get("vega_lite_chart"))
    for letter in "AB":
        assert f"{letter}: stride 4 is highest at octave" in words


def licence(app: AppTest) -> str:
    """What the chip beside the networks says."""
    return " ".join(text.help for text in app.markdown if "NC" in text.value)


def start_query(**changes: str) -> dict[str, str]:
    """The address of the first view, the probe's place left out."""
    first = {"source": "scene", "scene": "0", "a": PLAIN, "b": GATED, "mode": "percentile"}
    first |= {"colors": "inferno", "pick": "pixel", "difference": "0", "opacity": "1"}
    return first | changes


def without_probe(query: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in query.items() if key not in ("x", "y")}


def test_two_checkpoints_are_compared(checkpoints, address):
    app = page(path=ENTRY.parents[2] / "app.py").run()
    assert not app.exception
    assert not app.error
    assert [app.selectbox(key=letter).value for letter in "ab"] == [PLAIN, GATED]
    objects, table = (frame.value for frame in app.dataframe)
    assert list(objects.columns[:4]) == ["object", "class", "size (px)", "q A"]
    assert len(objects) >= table["regions"].sum()
    assert list(table.columns[:3]) == ["size (px)", "regions", "A /4"]
    assert table["regions"].sum() > 5
    assert ((table.iloc[:, 2:] > 0) & (table.iloc[:, 2:] < 1)).all(axis=None)
    profile = profile_of(app)
    assert [row[0] for row in profile] == ["/4", "/8", "/16", "/32"]
    assert all(0 < float(row[k]) < 1 for row in profile for k in (1, 4))
    scores = np.array(list(scores_of(app).values()))
    assert scores.shape == (4, 2)
    assert (scores.max(axis=0) > 0.1).all()
    assert (scores.sum(axis=0) <= 1 + 4e-3).all()
    assert without_probe(address(app)) == start_query()
    assert "for research only" in licence(app)


def test_a_click_moves_probe_panel_and_link(checkpoints, number, address):
    app = page({"scene": "1", "x": "10", "y": "20"}).run()
    assert (number(app, "x (").value, number(app, "y (").value) == (10, 20)
    before = profile_of(app)
    turn = app.session_state["probe_turn"]
    app.session_state["viewer"] = {"point": {"x": 300, "y": 200, "turn": turn}}
    app.run()
    assert not app.exception
    assert (number(app, "x (").value, number(app, "y (").value) == (300, 200)
    after = profile_of(app)
    assert all(old[2] != new[2] for old, new in zip(before, after, strict=True))
    assert all(old[3] == new[3] for old, new in zip(before, after, strict=True))
    assert (address(app)["x"], address(app)["y"]) == ("300", "200")
    # A click from before the page moved the probe is old news.
    number(app, "x (").set_value(5)
    app.run()
    assert (address(app)["x"], address(app)["y"]) == ("5", "200")
    app.session_state["viewer"] = {"point": {"x": -4, "y": 10**9, "turn": turn + 1}}
    app.run()
    assert (address(app)["x"], address(app)["y"]) == ("0", "255")


def test_a_region_is_described_and_a_pixel_is_pinned(checkpoints, address):
    app = page({"pick": "region", "x": "256", "y": "200"}).run()
    assert not app.exception
    said = " ".join(text.value for text in app.markdown)
    assert "of this image's SCI" in said
    assert "q (0: what pooling alone gives" in said
    assert float(profile_of(app)[0][-1]) > 4
    app.button[0].click()
    pin = next(b for b in app.button if b.label == "Pin this pixel")
    pin.click()
    app.run()
    assert (address(app)["px"], address(app)["py"]) == ("256", "200")
    next(b for b in app.button if b.label == "Take the pin away").click()
    app.run()
    assert "px" not in address(app)


def test_the_gallery_chooses_a_scene(checkpoints, address):
    app = page().run()
    app.button(key="gallery-7").click()
    app.run()
    assert not app.exception
    assert app.session_state["image_menu"] is False
    assert not any(one.key == "scene" for one in app.number_input)
    assert address(app)["scene"] == "7"
    app.session_state["image_menu"] = True
    app.run()
    assert app.number_input(key="scene").value == 7


def test_images_of_a_data_set_are_shown(checkpoints, tmp_path, offer, address):
    data = tmp_path / "made"
    assert main(["scenes", str(data), "--count", "2", "--size", "64x96", "--quiet"]) == 0
    offer(data=f"folder:{data}")
    app = page({"source": "data"}).run()
    assert not app.exception
    assert not app.error
    assert len(app.selectbox(key="image").options) == 2
    app.selectbox(key="image").select_index(1)
    app.run()
    assert not app.exception
    assert address(app)["image"] == app.selectbox(key="image").value
    assert any("96 x 64 pixels" in caption.value for caption in app.markdown)


def test_one_checkpoint_is_shown_beside_itself(checkpoints):
    (checkpoints / GATED).unlink()
    app = page().run()
    assert not app.exception
    assert not app.error
    assert [app.selectbox(key=letter).value for letter in "ab"] == [PLAIN, PLAIN]
    assert any("same network" in text.help for text in app.markdown if text.help)


def test_raw_scales_carry_the_badge(checkpoints, address, viewer_text):
    app = page({"mode": "shared"}).run()
    assert RAW_BADGE in viewer_text(app)
    app.selectbox(key="mode").set_value("per_map")
    app.run()
    assert RAW_BADGE in viewer_text(app)
    assert address(app)["mode"] == "per_map"
    app.selectbox(key="mode").set_value("percentile")
    app.run()
    assert not app.exception
    assert RAW_BADGE not in viewer_text(app)


def test_a_link_opens_its_view(checkpoints, address):
    app = page({"scene": "3", "a": GATED, "b": PLAIN}).run()
    assert not app.warning
    assert app.number_input(key="scene").value == 3
    assert [app.selectbox(key=letter).value for letter in "ab"] == [GATED, PLAIN]
    assert any("scene 3," in text.value for text in app.markdown)
    app.number_input(key="scene").set_value(0)
    app.run()
    assert address(app)["scene"] == "0"


def test_another_image_begins_at_a_probe_of_its_own(checkpoints, address):
    app = page({"scene": "3", "x": "10", "y": "20", "px": "5", "py": "6"}).run()
    assert {address(app)[name] for name in ("x", "y")} == {"10", "20"}
    app.number_input(key="scene").set_value(0)
    app.run()
    assert "px" not in address(app)
    fresh = address(page({"scene": "0"}).run())
    assert (address(app)["x"], address(app)["y"]) == (fresh["x"], fresh["y"]) != ("10", "20")


def test_an_address_that_comes_late_takes_nothing_back(checkpoints, address):
    app = page().run()
    late = address(app)
    app.number_input(key="scene").set_value(4)
    app.run()
    for key, value in late.items():
        app.query_params[key] = value
    app.number_input(key="scene").set_value(6)
    app.run()
    assert not app.warning
    assert app.number_input(key="scene").value == 6
    assert address(app)["scene"] == "6"


def test_a_bad_link_changes_nothing_but_is_said(checkpoints, address):
    queries = [
        {"scene": "9" * 400, "mode": "<script>alert(1)</script>", "a": "../../etc/passwd"},
        {"scene": "abc", "nonsense": "1"},
    ]
    for query in queries:
        app = page(query).run()
        assert not app.exception
        assert not app.error
        assert len(app.warning) == len(query)
        said = " ".join(note.value for note in app.warning)
        assert not any(word in said for word in ("99999", "script", "passwd", "abc"))
        assert without_probe(address(app)) == start_query()
    app.run()
    assert not app.warning


def test_a_pixel_outside_the_image_is_left_out_and_said(checkpoints, address):
    start = address(page().run())
    for query in ({"x": "512", "y": "10"}, {"px": "3", "py": "256"}):
        app = page(query).run()
        assert ["outside this image of 512 x 256" in note.value for note in app.warning] == [True]
        assert address(app) == start
    app = page({"x": "511", "y": "255"}).run()
    assert not app.warning
    assert (address(app)["x"], address(app)["y"]) == ("511", "255")
    app = page({"px": "7"}).run()
    assert ["only one of 'px' and 'py'" in note.value for note in app.warning] == [True]


def test_another_image_starts_with_a_probe_of_its_own(checkpoints, address):
    app = page({"source": "upload", "x": "90", "y": "60"}).run()
    app.file_uploader(key="uploader").upload("small.png", png())
    app.run()
    assert (address(app)["x"], address(app)["y"]) == ("90", "60")
    app.segmented_control(key="source").set_value("scene")
    app.run()
    assert not app.warning
    own = address(page().run())
    assert (address(app)["x"], address(app)["y"]) == (own["x"], own["y"])
    app.number_input(key="scene").set_value(4)
    app.run()
    fourth = address(page({"scene": "4"}).run())
    assert (address(app)["x"], address(app)["y"]) == (fourth["x"], fourth["y"])
    assert fourth["x"] != own["x"]


def test_a_refused_upload_is_not_said_to_be_shown(checkpoints, address):
    app = page({"source": "upload"}).run()
    app.file_uploader(key="uploader").upload("no.png", b"GIF89a nothing")
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert not any("Shown" in text.value for text in app.text)
    assert "upload" not in address(app)


def test_what_is_wrong_with_a_checkpoint_names_it(checkpoints):
    content = bytearray((checkpoints / GATED).read_bytes())
    content[-4000:] = b"\xff" * 4000
    (checkpoints / GATED).write_bytes(content)
    app = page().run()
    assert not app.exception
    (note,) = (note.value.replace("\\", "") for note in app.error)
    assert note.startswith(f"B, {GATED}: this network gives NaN or infinity")


def test_an_upload_is_shown_without_table(checkpoints, address):
    app = page({"source": "upload"}).run()
    assert not app.exception
    app.file_uploader(key="uploader").upload("my $x$ *photo*.png", png())
    app.run()
    assert not app.exception
    assert not app.error
    assert any("Your image, 96 x 64 pixels" in text.value for text in app.markdown)
    assert any("has no labels" in text.value for text in app.markdown)
    (objects,) = (frame.value for frame in app.dataframe)
    assert not any(name.startswith("right") for name in objects.columns)
    assert any("no right or wrong here" in text.value for text in app.markdown)
    assert len(scores_of(app)) == 4
    assert len(address(app)["upload"]) == 16
    assert any(text.value == "Shown: my $x$ *photo*.png" for text in app.text)


def test_a_link_to_an_upload_asks_for_it(checkpoints, address):
    app = page({"source": "upload", "upload": "0123456789abcdef", "scene": "3"}).run()
    assert not app.exception
    assert app.number_input(key="scene").value == 3
    assert "upload it again" in app.warning[0].value
    assert "upload" not in address(app)


def test_a_bad_upload_is_one_sentence(checkpoints):
    app = page({"source": "upload"}).run()
    for content, what in ((b"", "empty"), (b"<html>", "PNG"), (png(20, 500), "at least 32")):
        app.file_uploader(key="uploader").upload("evil [x](y).png", content)
        app.run()
        assert not app.exception
        assert len(app.error) == 1
        assert what in app.error[0].value
        assert "[x](y)" not in app.error[0].value
    app.file_uploader(key="uploader").clear()
    app.run()
    assert not app.error
    assert any("Choose a file" in text.value for text in app.markdown)


def test_a_file_that_is_no_checkpoint_is_named(checkpoints, tiny_files):
    (checkpoints / "junk.safetensors").write_bytes(b"junk")
    (checkpoints / "bare.safetensors").write_bytes(tiny_files["no_gains"].read_bytes())
    app = page().run()
    assert not app.exception
    assert "2 files are not offered" in app.expander[0].label
    assert "no per-channel gains" in app.expander[0].text[0].value
    assert len(app.selectbox(key="a").options) == 2


def test_the_export_menu_costs_nothing_until_it_is_open(checkpoints, buttons):
    app = page({"scene": "1", "x": "10", "y": "20"}).run()
    assert not app.exception
    made = [name for name in buttons if not name.endswith("-sizes.csv")]
    assert made == []
    app.session_state["export_menu"] = True
    app.run()
    assert not app.exception
    kinds = {name.rpartition("-")[2] for name in buttons}
    assert kinds >= {"figure.png", "figure.svg", "figure.pdf", "profile.csv", "maps.npz"}
    assert kinds >= {"view.json", "all.zip", "input.png"}
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in buttons)
    (view,) = (make for name, make in buttons.items() if name.endswith("view.json"))
    record = json.loads(view())
    assert (record["view"]["x"], record["view"]["y"]) == (10, 20)
    held = {row["class"]: [row["A"], row["B"]] for row in record["numbers"]["scores"]}
    for name, values in scores_of(app).items():
        assert held[name] == pytest.approx(values, abs=5e-4)
    assert app.selectbox(key="export_tile").options[0] == "Input"


def test_a_view_saved_on_the_page_is_replayed_with_the_same_numbers(
    checkpoints, buttons, tmp_path_factory, capsys, monkeypatch
):
    monkeypatch.setattr("gsto_viz.explorer.exports.files._figure", lambda *_: b"drawn")
    query = {"scene": "1", "x": "256", "y": "200", "pick": "region", "mode": "zscore"}
    app = page({**query, "px": "8", "py": "9"})
    app.session_state["export_menu"] = True
    app.run()
    assert not app.exception
    (make,) = (make for name, make in buttons.items() if name.endswith("view.json"))
    out = tmp_path_factory.mktemp("replay")
    (out / "view.json").write_bytes(make())
    words = ["export", "--view", str(out / "view.json"), "--out", str(out / "files")]
    assert main([*words, "--checkpoints", str(checkpoints), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "28 files" in said
    assert "largest difference 0 (of 1" in said
    saved, anew = (json.loads((out / p).read_text()) for p in ("view.json", "files/view.json"))
    changing = {"time"}
    assert {k: v for k, v in saved.items() if k not in changing} == {
        k: v for k, v in anew.items() if k not in changing
    }
    assert saved["numbers"]["region"]["class_name"]
    assert {row["place"] for row in saved["numbers"]["profile"]} == {"probe", "pin"}


def test_a_checkpoint_that_goes_away_is_replaced(checkpoints):
    app = page().run()
    (checkpoints / GATED).unlink()
    app.run()
    assert not app.exception
    assert "no longer there" in app.warning[0].value
    assert [app.selectbox(key=letter).value for letter in "ab"] == [PLAIN, PLAIN]
