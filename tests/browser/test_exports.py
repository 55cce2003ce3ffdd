"""Every button of every page's menu "Export": a file of the promised kind arrives."""

import csv
import io
import json
import shutil
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gsto_viz.train.folder import RunLog

pytestmark = pytest.mark.browser

PAGES = {
    "explore": ("/?scene=3&x=300&y=180&px=20&py=30&pick=region&difference=1", ()),
    "gates": ("/gates?scene=3&force=1&value=0", ()),
    "sizes": ("/sizes?scene=3", ()),
    "attribution": ("/attribution?scene=3&method=shapley", ()),
    "attribution, not run": ("/attribution?scene=4&method=gradcam", ("maps.npz", "view.png")),
    "scale-probe": ("/scale-probe?side=64", ()),
}
"""Addresses, and files that they must not offer."""
FIGURES = {"view.png", "view.svg", "view.pdf"}
OFFERED = {
    "explore": FIGURES | {"figure.pdf", "profile.csv", "scores.csv", "sizes.csv", "maps.npz"},
    "gates": FIGURES | {"figure.pdf", "gates.csv", "means.csv", "held.csv", "maps.npz"},
    "sizes": {"regions.csv", "sci.csv", "responses.csv", "responses.pdf", "maps.npz"},
    "attribution": FIGURES | {"branches.csv", "maps.npz", "view.json"},
    "attribution, not run": {"branches.csv"},
    "scale-probe": FIGURES | {"figure.pdf", "profile.csv", "curves.csv", "maps.npz"},
}
"""Some of the files that they must."""


def check_table(content: bytes) -> None:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    assert rows
    assert len({len(row) for row in rows}) == 1


def check_arrays(content: bytes) -> None:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    assert json.loads(str(arrays.pop("about")))
    assert arrays
    assert all(array.size for array in arrays.values())


def check_archive(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        for name in names:
            CHECKS[name.rsplit(".", 1)[1]](archive.read(name))


def begins_with(*magic: bytes) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        assert content.startswith(magic)
        assert len(content) > 60

    return check


def check_drawing(content: bytes) -> None:
    root = ET.fromstring(content)
    assert root.tag.endswith("svg")
    assert "".join(root.itertext()).strip()


CHECKS: dict[str, Callable[[bytes], None]] = {
    "png": begins_with(b"\x89PNG\r\n\x1a\n"),
    "pdf": begins_with(b"%PDF-"),
    "svg": check_drawing,
    "csv": check_table,
    "npz": check_arrays,
    "json": lambda content: json.loads(content) or pytest.fail("an empty record"),
    "zip": check_archive,
}
KINDS = {"PNG", "SVG", "PDF", "CSV", "NPZ", "JSON", "ZIP"}


def all_files(page) -> dict[str, bytes]:
    """Press every button of the open menu; return the files by the end of their names."""
    menu = page.get_by_role("button", name="Export", exact=True)
    buttons = page.get_by_test_id("stPopoverBody").get_by_test_id("stDownloadButton")
    buttons.first.wait_for(timeout=60_000)
    page.settle()
    files = {}
    for k in range(buttons.count()):
        button = buttons.nth(k).get_by_role("button")
        label = button.inner_text()
        kind = label.rsplit("(", 1)[1].rstrip(")").strip()
        assert kind in KINDS, label
        # The list of files hangs on the menu's button: out of sight, it cannot be reached.
        menu.scroll_into_view_if_needed()
        with page.expect_download(timeout=180_000) as waiting:
            button.click()
        download = waiting.value
        assert download.failure() is None, label
        name = download.suggested_filename
        assert name.endswith(f".{kind.lower()}"), (label, name)
        content = Path(download.path()).read_bytes()
        CHECKS[kind.lower()](content)
        assert name not in files
        files[name] = content
    return files


def exported(page) -> dict[str, bytes]:
    button = page.get_by_role("button", name="Export", exact=True)
    button.wait_for(timeout=120_000)
    page.stand_still()
    button.click()
    files = all_files(page)
    assert page.problems == []
    return files


@pytest.mark.parametrize("name", PAGES)
def test_every_button_gives_its_file(served, visit, name):
    address, absent = PAGES[name]
    page = visit(served.url + address, wait="h1")
    files = exported(page)
    for end in OFFERED[name]:
        assert any(file.endswith(f"-{end}") for file in files), end
    for end in absent:
        assert not any(file.endswith(f"-{end}") for file in files), end
    (archive,) = (content for file, content in files.items() if file.endswith("-all.zip"))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        for inside in opened.namelist():
            saved = inside.replace("/", "-", 1).replace("/", "-")
            if saved in files and not saved.endswith(".json"):
                assert opened.read(inside) == files[saved], inside


def test_curves_that_were_measured_are_exported(served, visit):
    page = visit(served.url + "/scale-probe?side=64&object=Bicyclist")
    # Measured unasked where that is quick.
    button, curves = page.get_by_role("button", name="Measure A"), page.get_by_text("q of A and B")
    button.or_(curves).first.wait_for(timeout=60_000)
    if button.count():
        button.click()
    curves.first.wait_for(timeout=180_000)
    page.settle()
    files = exported(page)
    (curves,) = (content for name, content in files.items() if name.endswith("-curves.csv"))
    rows = list(csv.DictReader(io.StringIO(curves.decode())))
    assert {row["object"] for row in rows} == {"Bicyclist"}
    assert {row["model"] for row in rows} == {"A", "B"}
    assert len({row["size (px)"] for row in rows}) > 3


def test_a_run_that_was_asked_for_is_exported(served, visit):
    page = visit(served.url + "/attribution?scene=3&method=gradcam")
    page.get_by_role("button", name="Run Grad-CAM").click()
    page.locator("canvas[data-tile=B32]").wait_for(timeout=180_000)
    page.settle()
    files = exported(page)
    assert {f"view.{kind}" for kind in ("png", "svg", "pdf")} <= {
        name.rsplit("-", 1)[1] for name in files
    }


@pytest.fixture(scope="module")
def with_runs(serve, analysis, tmp_path_factory):
    """An explorer that offers the analysis ``run`` and the training run ``trained``."""
    runs = tmp_path_factory.mktemp("runs")
    shutil.copytree(analysis.folder, runs / "run")
    (runs / "trained").mkdir()
    with RunLog(runs / "trained") as log:
        for step in range(10, 60, 10):
            log.write("train", step, epoch=step // 20, loss=3 / step, lr=0.1, images_per_s=4.0)
        log.write("val", 50, epoch=2, miou=30.0, pixel_accuracy=60.0, mean_accuracy=40.0)
    (runs / "trained" / "config.yaml").write_text("recipe: made-up\n")
    return serve("--runs", str(runs))


@pytest.mark.parametrize(
    ("address", "offered"),
    [
        ("/sizes?run=run", {"indices.csv", "differences.csv", "responses.png", "view.json"}),
        ("/runs?run=trained", {"runs.csv", "training.csv", "validation.csv", "training.svg"}),
    ],
)
def test_folders_are_exported(with_runs, visit, address, offered):
    page = visit(with_runs.url + address, wait="h1")
    ends = {name.rsplit("-", 1)[1] for name in exported(page)}
    assert offered <= ends
    assert "maps.npz" not in ends


def test_a_page_without_numbers_of_its_own_offers_nothing(served, visit):
    page = visit(served.url + "/method", wait="h1")
    assert page.get_by_role("button", name="Export", exact=True).count() == 0
