"""Exports: every file is read again, by other means, and compared with the arrays on the page."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image

from gsto_viz.activity import normalise, valid_by_stride
from gsto_viz.explorer.exports import figures as drawings
from gsto_viz.explorer.exports.explore import explore_exports
from gsto_viz.explorer.exports.files import (
    ExportFile,
    Exports,
    Making,
    csv_bytes,
    export_stem,
    npz_bytes,
    zip_bytes,
)
from gsto_viz.explorer.shown import Shown, cut_regions
from gsto_viz.explorer.values.probe import percentile_maps
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.words import MODES, RAW_BADGE

STATE = ViewState(a="A", b="B", x=77, y=31, colors="viridis")


def exports(shown: Shown, **changes) -> Exports:
    return explore_exports(shown, cut_regions(shown), replace(STATE, **changes))


def content(made: Exports, name: str) -> bytes:
    (file,) = (file for file in made.all_files() if file.name == name)
    return file.make()


def rows_of(made: Exports, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content(made, name).decode())))


def gated(shown: Shown) -> Shown:
    """B with two gates."""
    rng = np.random.default_rng(5)
    gates = {
        "stage4.m0.gate[2->0]": rng.random((6, 10), dtype=np.float32),
        "transition3.gate": rng.random((6, 10), dtype=np.float32),
    }
    b = replace(shown.inspections["B"], gates=gates, gate_range=(0.0, 1.0))
    return replace(shown, inspections={**shown.inspections, "B": b})


def test_the_profile_of_a_pixel_and_of_the_pin_holds_what_the_arrays_hold(made_up) -> None:
    shown = made_up()
    ranks = percentile_maps(shown)
    rows = rows_of(exports(shown, px=3, py=80), "profile.csv")
    k = 0
    for place, x, y in (("probe", 77, 31), ("pin", 3, 80)):
        for letter in "AB":
            for r, stride in enumerate((4, 8, 16, 32)):
                row, seen = rows[k], shown.inspections[letter]
                i, j = y // stride, x // stride
                assert (row["place"], row["x (px)"], row["y (px)"]) == (place, str(x), str(y))
                assert (row["model"], row["stride (px)"]) == (letter, str(stride))
                assert (row["row (cell)"], row["column (cell)"]) == (str(i), str(j))
                assert float(row["percentile (0..1)"] or "nan") == pytest.approx(
                    ranks[letter][r][i, j], nan_ok=True, abs=0
                )
                assert float(row["raw channel mean (arbitrary units)"]) == seen.raw[r][i, j]
                assert row["sha256"] == letter.lower() * 64
                assert row["checkpoint"] == seen.name
                k += 1
    assert len(rows) == k == 16


def test_the_profile_of_a_region_is_a_mean_over_its_pixels(made_up) -> None:
    shown = made_up()
    ids = cut_regions(shown).regions.ids
    number = int(ids[31, 77])
    assert number > 0
    rows = rows_of(exports(shown, pick="region"), "profile.csv")
    assert {row["region"] for row in rows} == {str(number)}
    for row in rows:
        stride = int(row["stride (px)"])
        raw = dict(zip((4, 8, 16, 32), shown.inspections[row["model"]].raw, strict=True))[stride]
        total, count = 0.0, 0
        for y in range(ids.shape[0]):
            for x in range(ids.shape[1]):
                if ids[y, x] == number:
                    total, count = total + float(raw[y // stride, x // stride]), count + 1
        value = float(row["raw channel mean (arbitrary units)"])
        assert value == pytest.approx(total / count, rel=1e-9)
        assert float(row["area (cells)"]) == pytest.approx(count / stride**2)


def test_a_probe_in_no_region_gives_tables_without_rows(made_up) -> None:
    shown = made_up()
    labels = shown.sample.labels.copy()
    labels[:40] = 255
    shown = replace(shown, sample=replace(shown.sample, labels=labels))
    made = exports(shown, pick="region")
    assert rows_of(made, "profile.csv") == []
    assert rows_of(made, "scores.csv") == []
    numbers = json.loads(content(made, "view.json"))["numbers"]
    assert (numbers["region"], numbers["profile"]) == (None, [])


def test_class_scores_are_probabilities_of_all_classes(made_up) -> None:
    shown = made_up()
    rows = rows_of(exports(shown), "scores.csv")
    assert [row["class"] for row in rows] == list(shown.classes.names)
    for letter in "AB":
        assert sum(float(row[f"{letter} score (0..1)"]) for row in rows) == pytest.approx(1)


def test_the_maps_come_back_bit_for_bit_under_their_taps(made_up) -> None:
    shown = gated(made_up())
    with np.load(io.BytesIO(content(exports(shown), "maps.npz")), allow_pickle=False) as file:
        held = dict(file)
    about = json.loads(str(held.pop("about")))
    np.testing.assert_array_equal(held.pop("labels"), shown.sample.labels)
    for letter, seen in shown.inspections.items():
        for r in range(4):
            for kind in ("raw", "activity"):
                array = held.pop(f"{letter}.stage4.branch{r}.{kind}")
                np.testing.assert_array_equal(array, getattr(seen, kind)[r])
                assert array.dtype == np.float32
        np.testing.assert_array_equal(held.pop(f"{letter}.prediction"), seen.prediction)
        np.testing.assert_array_equal(held.pop(f"{letter}.head.logits"), seen.logits)
    gates = shown.inspections["B"].gates
    np.testing.assert_array_equal(held.pop("B.stage4.m0.gate.2to0"), gates["stage4.m0.gate[2->0]"])
    np.testing.assert_array_equal(held.pop("B.transition3.gate"), gates["transition3.gate"])
    assert held == {}
    assert about["strides"]["A"] == [4, 8, 16, 32]
    assert about["gate_range"] == {"A": None, "B": [0, 1]}
    assert RAW_BADGE in about["raw"]


@pytest.mark.parametrize("mode", MODES)
def test_a_tile_has_one_pixel_per_cell_in_the_colours_of_the_viewer(made_up, mode) -> None:
    shown = made_up()
    labels = shown.sample.labels.copy()
    labels[:50, :64] = 255
    shown = replace(shown, sample=replace(shown.sample, labels=labels))
    pair = [shown.inspections[letter] for letter in "AB"]
    heat = normalise(pair, mode, valid_by_stride(labels, (4, 8, 16, 32)))[1][1]
    pixels = np.array(Image.open(io.BytesIO(content(exports(shown, mode=mode), "tiles/B8.png"))))
    assert pixels.shape == (12, 19, 3)
    for i in range(12):
        for j in range(19):
            value = float(np.float32(heat.values[i, j]))
            if np.isnan(value):
                expected = [176, 176, 176]
            else:
                share = (value - heat.low) / (heat.high - heat.low)
                level = max(0, min(255, int(np.floor(256 * share))))
                expected = [round(255 * c) for c in colormaps["viridis"](level)[:3]]
            assert list(pixels[i, j]) == expected
    assert (pixels == 176).all(axis=2).any()


def test_tiles_of_classes_and_of_the_image_are_pixels_of_the_image(made_up) -> None:
    shown = made_up()
    made = exports(shown)
    image = np.array(Image.open(io.BytesIO(content(made, "tiles/input.png"))))
    np.testing.assert_array_equal(image, shown.sample.image)
    pixels = np.array(Image.open(io.BytesIO(content(made, "tiles/disagreement.png"))))
    a, b = (shown.inspections[letter].prediction for letter in "AB")
    for i, j in ((0, 0), (17, 40), (50, 3), (89, 149)):
        same = a[i, j] == b[i, j]
        expected = (176, 176, 176) if same else shown.classes.classes[b[i, j]].color
        assert tuple(pixels[i, j]) == expected
    names = [tile.name for tile in made.tiles]
    assert len(set(names)) == len(names) == 17
    unlabelled = [tile.name for tile in exports(made_up(labelled=False)).tiles]
    assert "tiles/truth.png" not in unlabelled


def test_figures_are_printable(made_up) -> None:
    made = exports(gated(made_up()), mode="shared")
    with Image.open(io.BytesIO(content(made, "figure.png"))) as picture:
        assert picture.size[0] == 2400
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert "raw" in picture.info["Description"]
    pdf = content(made, "figure.pdf")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    text = "".join(ET.fromstring(content(made, "figure.svg")).itertext())
    assert "stride 32" in text
    assert RAW_BADGE in text


def drawn(monkeypatch, made: Exports) -> tuple[dict, object]:
    """Draw the view; return its tiles by title, each as (pixels of its last image, axes)."""
    figures = []
    real = drawings.figure_view

    def keep(*rows, **more):
        figures.append(real(*rows, **more))
        return figures[0]

    monkeypatch.setattr(drawings, "figure_view", keep)
    svg = content(made, "view.svg")
    tiles = {ax.get_label(): ax for ax in figures[0].axes if ax.images}
    return tiles, " ".join("".join(ET.fromstring(svg).itertext()).split())


@pytest.mark.parametrize("mode", MODES)
def test_the_view_is_drawn_as_the_page_shows_it(made_up, monkeypatch, mode) -> None:
    shown = made_up()
    ids = cut_regions(shown).regions.ids
    changes = {"difference": True, "opacity": 0.6, "pick": "region", "px": 3, "py": 80}
    tiles, text = drawn(monkeypatch, exports(shown, mode=mode, **changes))
    labels = shown.sample.labels
    pair = [shown.inspections[letter] for letter in "AB"]
    heats = normalise(pair, mode, valid_by_stride(labels, (4, 8, 16, 32)))
    for r, stride in enumerate((4, 8, 16, 32)):
        a, b = (np.ma.filled(tiles[f"{x} /{stride}"].images[-1].get_array(), np.nan) for x in "AB")
        np.testing.assert_array_equal(a, heats[0][r].values)
        np.testing.assert_array_equal(b, heats[1][r].values)
        for letter, own in zip("AB", heats, strict=True):
            image = tiles[f"{letter} /{stride}"].images[-1]
            assert image.get_clim() == (own[r].low, own[r].high)
            assert (image.get_cmap().name, image.get_alpha()) == ("viridis", 0.6)
        image = tiles[f"B - A /{stride}"].images[-1]
        low, high = image.get_clim()
        shown_difference = np.ma.filled(image.get_array(), np.nan)
        for i, j in np.ndindex(a.shape):
            if np.isnan(a[i, j]):
                assert np.isnan(shown_difference[i, j])
            else:
                assert shown_difference[i, j] == b[i, j] - a[i, j]
                if mode != "zscore":
                    assert low <= shown_difference[i, j] <= high
        assert (low, image.get_cmap().name) == (-high, "RdBu_r")
    for ax in tiles.values():
        marks = {line.get_marker(): tuple(line.get_xydata()[0]) for line in ax.lines}
        assert marks == {"+": (77.5, 31.5), "s": (3.5, 80.5)}
    number = ids[31, 77]
    border = 0
    for y, x in np.argwhere(ids == number):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            border += not (0 <= v < 90 and 0 <= u < 150 and ids[v, u] == number)
    paths = [p.get_path().vertices for p in tiles["Input"].patches]
    assert {float(np.abs(np.diff(v.reshape(-1, 2, 2), axis=1)).sum()) for v in paths} == {border}
    assert "Cross: the probe at x 77, y 31. Outline: the region that is probed." in text
    assert "Square: the pin at x 3, y 80." in text
    assert (RAW_BADGE in text) == (mode in ("shared", "per_map"))
    assert "Made up. A: a; B: b." in text


def test_the_view_leaves_out_what_the_page_does(made_up, monkeypatch) -> None:
    tiles, text = drawn(monkeypatch, exports(made_up(labelled=False)))
    assert "Ground truth" not in tiles
    assert not [title for title in tiles if title.startswith("B - A")]
    assert {line.get_marker() for line in tiles["Input"].lines} == {"+"}
    assert len(tiles["Input"].patches) == 0
    assert "Square" not in text
    assert "Outline" not in text


def test_the_figure_has_the_colours_of_the_page(made_up) -> None:
    shown = made_up()
    colors = set()
    for name in ("viridis", "inferno"):
        with Image.open(io.BytesIO(content(exports(shown, colors=name), "figure.png"))) as picture:
            pixels = np.array(picture.convert("RGB")).astype(np.int64)
        codes = np.unique(pixels @ [65536, 256, 1]).tolist()
        seen = {(code >> 16, code >> 8 & 255, code & 255) for code in codes}
        ends = [tuple(round(255 * c) for c in colormaps[name](k)[:3]) for k in (30, 128, 220)]
        assert set(ends) <= seen
        colors.add(frozenset(seen))
    assert len(colors) == 2


def test_the_view_says_what_was_shown_of_what_and_how(made_up) -> None:
    shown = made_up()
    text = content(exports(shown, mode="shared", pick="region"), "view.json").decode()
    record = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert record["view"] == replace(STATE, mode="shared", pick="region").to_json()
    assert record["checkpoints"]["B"]["sha256"] == "b" * 64
    assert record["image"]["pixels_sha256"] == shown.picture.key
    assert (record["image"]["height_px"], record["image"]["width_px"]) == (90, 150)
    assert record["display"]["badge"] == RAW_BADGE
    assert {"torch", "numpy", "gsto_viz"} <= set(record["versions"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["time"])
    numbers = record["numbers"]
    assert numbers["region"]["class_name"] in shown.classes.names
    bars = {(m["model"], m["stride_px"]): (m["bar_low"], m["bar_high"]) for m in numbers["maps"]}
    assert all(bars["A", stride] == bars["B", stride] for stride in (4, 8, 16, 32))
    a, b = (shown.inspections[letter].prediction for letter in "AB")
    differing = sum(int(p != q) for p, q in zip(a.ravel(), b.ravel(), strict=True))
    assert numbers["disagreement_share"] == pytest.approx(differing / a.size)
    assert len(text) < 40_000


def test_the_archive_holds_every_file_in_one_folder(made_up, monkeypatch) -> None:
    monkeypatch.setattr(
        "gsto_viz.explorer.exports.files._figure", lambda *words: words[-1].encode()
    )
    shown = made_up()
    made = exports(shown)
    with zipfile.ZipFile(io.BytesIO(made.archive().make())) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == [f"{made.stem}/{file.name}" for file in made.all_files()]
        for name in ("profile.csv", "maps.npz", "tiles/A4.png", "figure.svg"):
            assert archive.read(f"{made.stem}/{name}") == content(made, name)


def test_nothing_is_computed_before_a_file_is_asked_for(made_up, monkeypatch) -> None:
    shown, regions = made_up(), cut_regions(made_up())
    for name in (
        "exports.explore.percentile_maps",
        "exports.explore.branch_maps",
        "exports.explore.responses",
        "exports.files.branch_maps",
        "exports.files.drawn",
        "exports.figures.branch_maps",
        "exports.figures.view_figure",
        "exports.files.npz_bytes",
    ):
        monkeypatch.setattr(f"gsto_viz.explorer.{name}", pytest.fail)
    made = explore_exports(shown, regions, STATE)
    made.archive()
    assert {file.mime for file in made.all_files()} > {"image/png", "application/pdf"}


def test_the_name_changes_with_all_that_the_view_depends_on(made_up) -> None:
    shown = made_up()
    other = replace(shown, fingerprints={"A": "c" * 64, "B": "b" * 64})
    stems = [
        exports(shown).stem,
        exports(shown, x=78).stem,
        exports(shown, mode="zscore").stem,
        exports(other).stem,
    ]
    assert len(set(stems)) == 4
    assert exports(shown).stem == stems[0]
    assert stems[0].startswith("made-up-a-b-explore-")


@settings(max_examples=40)
@given(st.text(max_size=120), st.text(max_size=120))
def test_names_of_files_are_harmless(image, checkpoint) -> None:
    stem = export_stem(image, [checkpoint, checkpoint], "explore", [image, checkpoint])
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", stem)
    assert ".." not in stem or "/" not in stem


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")),
            st.floats(allow_infinity=False, allow_nan=False),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_no_cell_of_a_table_is_a_formula_and_numbers_are_exact(rows) -> None:
    table = pd.DataFrame(rows, columns=["name", "value"])
    read = list(csv.reader(io.StringIO(csv_bytes(table).decode(), newline="")))[1:]
    for (name, value), (cell, number) in zip(rows, read, strict=True):
        assert not cell.startswith(("=", "+", "-", "@", "\t"))
        assert cell == (f"'{name}" if name.startswith(("=", "+", "-", "@", "\t")) else name)
        assert float(number) == value


def test_headers_are_no_formulas_either() -> None:
    assert csv_bytes(pd.DataFrame({"=1+1": [-2.5]})) == b"'=1+1\n-2.5\n"


def test_an_archive_says_how_far_it_is() -> None:
    making, said = Making(), []

    def make() -> bytes:
        said.append((making.words, making.share))
        if len(said) == 4:
            raise OSError("full")
        return b"1"

    exports = Exports("x", tuple(ExportFile(f"{k}.csv", "", make) for k in "ab"))
    archive = exports.archive(making)
    assert said == []
    archive.make()
    assert said == [("Making file 1 of 2: a.csv", 0.0), ("Making file 2 of 2: b.csv", 0.5)]
    assert making == Making()
    with pytest.raises(OSError, match="full"):
        archive.make()
    assert making == Making()


def test_archives_and_arrays_are_the_same_bytes_each_time() -> None:
    files = {"a/b.txt": b"one", "c.bin": bytes(1000)}
    assert zip_bytes(files) == zip_bytes(files)
    arrays = {"x": np.arange(5)}
    with np.load(io.BytesIO(npz_bytes(arrays, {"k": [1]})), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["x"], np.arange(5))
