"""The page as Streamlit runs it, without a browser: checkpoints, links, uploads."""

import io
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from gsto_viz.heatmaps import RAW_BADGE

ENTRY = Path(__file__).parents[2] / "gsto_viz" / "explorer" / "entry.py"
GATED, PLAIN = "gated.safetensors", "plain.safetensors"


@pytest.fixture(scope="module", autouse=True)
def empty_caches():
    """Leave nothing behind; the tests of this file share what is keyed on content anyway."""
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_files) -> Path:
    monkeypatch.setenv("GSTO_VIZ_CHECKPOINTS", str(tmp_path))
    for key in ("plain", "gated"):
        (tmp_path / f"{key}.safetensors").write_bytes(tiny_files[key].read_bytes())
    return tmp_path


def page(query: dict[str, str] | None = None, path: Path = ENTRY) -> AppTest:
    app = AppTest.from_file(str(path), default_timeout=120)
    for key, value in (query or {}).items():
        app.query_params[key] = value
    return app


def query_of(app: AppTest) -> dict[str, str]:
    """Return the address's settings; AppTest gives a list for what was set from outside."""
    values = dict(app.query_params)
    return {k: v[0] if isinstance(v, list) else v for k, v in values.items()}


def png(height: int = 64, width: int = 96) -> bytes:
    array = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def test_without_any_checkpoint_the_page_says_what_to_do():
    app = page().run()
    assert not app.exception
    assert "gsto-viz app --checkpoints" in app.info[0].value
    assert len(app.image) == 0


def test_two_checkpoints_are_compared(folder):
    app = page(path=ENTRY.parents[2] / "app.py").run()
    assert not app.exception
    assert not app.error
    assert [box.value for box in app.selectbox] == [PLAIN, GATED]
    assert len(app.image) == 2
    table = app.dataframe[0].value
    assert list(table.columns[:3]) == ["size (px)", "regions", "A /4"]
    assert table["regions"].sum() > 5
    assert ((table.iloc[:, 2:] > 0) & (table.iloc[:, 2:] < 1)).all(axis=None)
    assert [b.label for b in app.get("download_button")] == [
        "Figure (PNG)",
        "Figure (PDF)",
        "Table (CSV)",
    ]
    assert query_of(app) == {"scene": "0", "a": PLAIN, "b": GATED, "mode": "percentile"}
    assert any("for research only" in note.value for note in app.info)


def test_one_checkpoint_is_shown_beside_itself(folder):
    (folder / GATED).unlink()
    app = page().run()
    assert not app.exception
    assert not app.error
    assert [box.value for box in app.selectbox] == [PLAIN, PLAIN]
    assert "same network" in app.info[0].value


def test_raw_scales_carry_the_badge(folder):
    app = page({"mode": "shared"}).run()
    assert any(RAW_BADGE in text.value for text in app.markdown)
    app.segmented_control(key="mode").set_value("per_map")
    app.run()
    assert any(RAW_BADGE in text.value for text in app.markdown)
    assert query_of(app)["mode"] == "per_map"
    app.segmented_control(key="mode").set_value("percentile")
    app.run()
    assert not app.exception
    assert not any(RAW_BADGE in text.value for text in app.markdown)


def test_a_link_opens_its_view(folder):
    app = page({"scene": "3", "a": GATED, "b": PLAIN}).run()
    assert not app.warning
    assert app.number_input(key="scene").value == 3
    assert [box.value for box in app.selectbox] == [GATED, PLAIN]
    assert any("scene 3," in text.value for text in app.markdown)
    app.number_input(key="scene").set_value(0)
    app.run()
    assert query_of(app)["scene"] == "0"


def test_a_bad_link_changes_nothing_but_is_said(folder):
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
        assert query_of(app) == {"scene": "0", "a": PLAIN, "b": GATED, "mode": "percentile"}
    app.run()
    assert not app.warning


def test_an_upload_is_shown_without_table(folder):
    app = page().run()
    app.file_uploader(key="upload").upload("my $x$ *photo*.png", png())
    app.run()
    assert not app.exception
    assert not app.error
    assert any("Your image, 96 x 64 pixels" in text.value for text in app.markdown)
    assert not app.dataframe
    assert len(app.image) == 1
    assert len(query_of(app)["upload"]) == 16
    assert app.number_input(key="scene").disabled


def test_a_link_to_an_upload_asks_for_it(folder):
    app = page({"upload": "0123456789abcdef", "scene": "3"}).run()
    assert not app.exception
    assert "upload it again" in app.warning[0].value
    assert "upload" not in query_of(app)


def test_a_bad_upload_is_one_sentence(folder):
    app = page().run()
    for content, what in ((b"", "empty"), (b"<html>", "PNG"), (png(20, 500), "at least 32")):
        app.file_uploader(key="upload").upload("evil [x](y).png", content)
        app.run()
        assert not app.exception
        assert len(app.error) == 1
        assert what in app.error[0].value
        assert "[x](y)" not in app.error[0].value
    app.file_uploader(key="upload").clear()
    app.run()
    assert not app.error
    assert len(app.image) == 2


def test_a_file_that_is_no_checkpoint_is_named(folder, tiny_files):
    (folder / "junk.safetensors").write_bytes(b"junk")
    (folder / "bare.safetensors").write_bytes(tiny_files["no_gains"].read_bytes())
    app = page().run()
    assert not app.exception
    assert "2 files are not offered" in app.expander[0].label
    assert "no per-channel gains" in app.expander[0].text[0].value
    assert len(app.selectbox[0].options) == 2


def test_a_checkpoint_that_goes_away_is_replaced(folder):
    app = page().run()
    (folder / GATED).unlink()
    app.run()
    assert not app.exception
    assert "no longer there" in app.warning[0].value
    assert [box.value for box in app.selectbox] == [PLAIN, PLAIN]
