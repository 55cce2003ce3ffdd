"""Tiny checkpoints and made-up views for the explorer."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit
import torch
from explorer_pages import page_app
from PIL import Image
from streamlit.testing.v1 import AppTest

from gsto_viz.calibrate import calibrate
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import render_scene
from gsto_viz.explorer import server
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.pictures import Picture, pixel_key
from gsto_viz.explorer.shown import Shown
from gsto_viz.look import Look
from gsto_viz.models import ModelInfo, build_model, save_checkpoint
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.train.folder import RunLog
from gsto_viz.types import Sample

STRIDES = (4, 8, 16, 32)
VIEWER = "gsto_viz_viewer"
EXPLORER = Path(__file__).parents[2] / "gsto_viz" / "explorer"


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints ``plain``, ``gated`` (with a notice) and ``no_gains``."""
    folder = tmp_path_factory.mktemp("checkpoints")
    images = [image_to_tensor(render_scene(0, i, 128, 256).image) for i in range(2)]
    files = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, network in (("plain", "hrnetv2-tiny"), ("gated", "gsto-hrnet-tiny")):
            model = build_model(network, num_classes=11)
            info = ModelInfo(
                name=name,
                network=network,
                classes=CAMVID_CLASSES,
                gains=calibrate(model, images),
                notice="for research only" if name == "gated" else None,
            )
            files[name] = folder / f"{name}.safetensors"
            save_checkpoint(model, files[name], info=info)
        files["no_gains"] = folder / "no_gains.safetensors"
        bare = ModelInfo(name="no_gains", network=network, classes=CAMVID_CLASSES)
        save_checkpoint(model, files["no_gains"], info=bare)
    return files


@pytest.fixture
def training_runs(tmp_path) -> Path:
    """Two training runs: ``one``, and ``two``, which was not evaluated yet."""
    place = tmp_path / "runs"
    for name, first in (("one", 3.0), ("two", 2.0)):
        (place / name).mkdir(parents=True)
        with RunLog(place / name) as log:
            for step in range(10, 60, 10):
                numbers = {"loss": first / step, "lr": 0.1, "images_per_s": 4.0, "seconds": step}
                log.write("train", step, epoch=step // 20, **numbers)
            if name == "one":
                log.write("val", 50, epoch=2, miou=30.0, pixel_accuracy=60.0, mean_accuracy=40.0)
    return place


@pytest.fixture(scope="module", autouse=True)
def empty_caches():
    """Leave nothing behind; the tests of one file share what is keyed on content anyway."""
    yield
    streamlit.cache_data.clear()
    streamlit.cache_resource.clear()


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch) -> None:
    """Tests choose their own checkpoints, whatever this installation ships."""
    monkeypatch.setattr("gsto_viz.explorer.checkpoints.shipped_checkpoints", dict)
    monkeypatch.setattr(server, "_offers", server.Offers())


@pytest.fixture
def offer(monkeypatch) -> Callable[..., None]:
    """Changes what the pages offer, by the fields of ``server.Offers``."""

    def change(**places: Path | str) -> None:
        monkeypatch.setattr(server, "_offers", replace(server.offered(), **places))

    return change


def made_up_inspection(name: str, size: tuple[int, int], seed: int, corners: bool) -> Look:
    rng = np.random.default_rng(seed)
    grids = [(-(-size[0] // s), -(-size[1] // s)) for s in STRIDES]
    return Look(
        name=name,
        network="hrnetv2-tiny",
        strides=STRIDES,
        prediction=rng.integers(0, 11, size, dtype=np.uint8),
        raw=tuple(rng.random(grid, dtype=np.float32) * 3 for grid in grids),
        activity=tuple(rng.random(grid, dtype=np.float32) for grid in grids),
        gates={},
        gate_range=None,
        logits=rng.normal(size=(11, *grids[0])).astype(np.float16),
        align_corners=corners,
    )


def make_view(labelled: bool = True, height: int = 90, width: int = 150) -> Shown:
    """Random maps of two networks on a part of a scene, with odd sides."""
    scene = render_scene(1_000_000, 3, 128, 256)
    assert scene.labels is not None
    assert scene.instances is not None
    crop = (slice(20, 20 + height), slice(60, 60 + width))
    sample = Sample(
        id="made-up",
        image=np.ascontiguousarray(scene.image[crop]),
        labels=np.ascontiguousarray(scene.labels[crop]) if labelled else None,
        instances=np.ascontiguousarray(scene.instances[crop]) if labelled else None,
    )
    classes = CAMVID_CLASSES if labelled else None
    picture = Picture(sample, pixel_key(sample.image), classes, "Made up.")
    choices = {
        letter: Choice(letter, Path(letter), (0, 0), "hrnetv2-tiny", CAMVID_CLASSES, False, None)
        for letter in "AB"
    }
    return Shown(
        picture=picture,
        sample=sample,
        why_unlabelled=None if labelled else "no labels",
        classes=CAMVID_CLASSES,
        choices=choices,
        inspections={
            "A": made_up_inspection("a", (height, width), 1, corners=False),
            "B": made_up_inspection("b", (height, width), 2, corners=True),
        },
        fingerprints={"A": "a" * 64, "B": "b" * 64},
    )


@pytest.fixture(scope="session")
def made_up() -> Callable[..., Shown]:
    """Makes a view: random maps of two networks on a part of a scene with odd sides."""
    return make_view


@pytest.fixture
def checkpoints(tmp_path, offer, tiny_files) -> Path:
    """A folder that is offered, with ``plain.safetensors`` and ``gated.safetensors``."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    offer(checkpoints=folder)
    for key in ("plain", "gated"):
        (folder / f"{key}.safetensors").write_bytes(tiny_files[key].read_bytes())
    return folder


@pytest.fixture(scope="session")
def open_app() -> Callable[..., AppTest]:
    """Opens a page of the explorer with the settings of a link."""
    return lambda page, **query: page_app(page, query)


@pytest.fixture(scope="session")
def address() -> Callable[[AppTest], dict[str, str]]:
    """Reads the settings of the address; AppTest gives a list for what was set from outside."""

    def read(app: AppTest) -> dict[str, str]:
        values = dict(app.query_params)
        return {k: v[0] if isinstance(v, list) else v for k, v in values.items()}

    return read


@pytest.fixture(scope="session")
def png_file() -> bytes:
    """A PNG of noise, 64 x 96 pixels (H x W)."""
    array = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def buttons(monkeypatch) -> dict[str, Any]:
    """What the page gives to download buttons: file name -> maker."""
    given: dict[str, Any] = {}

    def button(label, data, *, file_name, on_click, **options):
        assert on_click == "ignore"
        given[file_name] = data

    monkeypatch.setattr(streamlit, "download_button", button)
    return given


@pytest.fixture(scope="session")
def viewer_text() -> Callable[[AppTest], str]:
    """The data of the viewer, as they go to the browser."""

    def text(app: AppTest) -> str:
        (found,) = (c for c in app.get("bidi_component") if c.proto.component_name == VIEWER)
        return str(found.proto)

    return text


@pytest.fixture(scope="session")
def number() -> Callable[..., Any]:
    """Finds a numeric input of a page by the beginning of its label: its key changes."""
    return lambda app, label: next(n for n in app.number_input if n.label.startswith(label))
