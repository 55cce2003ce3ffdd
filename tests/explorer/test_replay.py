"""Saved views: what comes back, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gsto_viz import GstoVizError
from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.explorer.checkpoints import list_choices
from gsto_viz.explorer.exports.explore import explore_exports
from gsto_viz.explorer.exports.replay import Sources, agreement, replay
from gsto_viz.explorer.exports.view_file import ViewFile, read_view
from gsto_viz.explorer.pictures import Picture, data_picture, upload_fingerprint, upload_picture
from gsto_viz.explorer.shown import cut_regions, look, show_pair
from gsto_viz.explorer.view_state import ViewState, state_from_json
from gsto_viz.files import sha256_of
from gsto_viz.models import load_checkpoint

KEYS = {"A": "plain.safetensors", "B": "deep/gated.safetensors"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_files) -> Path:
    """Checkpoints, a photograph, and a data set of two images."""
    place = tmp_path_factory.mktemp("replay")
    (place / "deep").mkdir()
    (place / KEYS["A"]).write_bytes(tiny_files["plain"].read_bytes())
    (place / KEYS["B"]).write_bytes(tiny_files["gated"].read_bytes())
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "photo.png")
    words = ["scenes", str(place / "data"), "--count", "2", "--size", "64x96", "--quiet"]
    assert main(words) == 0
    return place


def saved(folder: Path, picture: Picture, state: ViewState) -> dict:
    """A view of the page as JSON, made of the same parts as the page is."""
    choices = {choice.key: choice for choice in list_choices(folder)[0]}
    pair = {letter: choices[key] for letter, key in KEYS.items()}
    models = {x: load_checkpoint(choice.path, name=choice.name) for x, choice in pair.items()}
    inspections = {x: look(model, picture) for x, model in models.items()}
    prints = {x: sha256_of(choice.path) for x, choice in pair.items()}
    shown = show_pair(picture, pair, inspections, prints)
    state = replace(state, a=KEYS["A"], b=KEYS["B"])
    exports = explore_exports(shown, cut_regions(shown), state)
    (file,) = (file for file in exports.files if file.name == "view.json")
    return json.loads(file.make())


@pytest.fixture(scope="module")
def upload_view(folder) -> dict:
    content = (folder / "photo.png").read_bytes()
    state = ViewState(source="upload", upload=upload_fingerprint(content), x=5, y=6)
    return saved(folder, upload_picture(content, "photo.png"), state)


@pytest.fixture(scope="module")
def data_view(folder) -> dict:
    data = load_data(f"folder:{folder / 'data'}")
    state = ViewState(source="data", image=data.ids[1], x=5, y=6, pick="region")
    return saved(folder, data_picture(data, 1), state)


def put(path: Path, record: dict) -> Path:
    path.write_text(json.dumps(record))
    return path


def numbers_again(path: Path, sources: Sources) -> dict:
    exports = replay(read_view(path), sources)
    (file,) = (file for file in exports.files if file.name == "view.json")
    return json.loads(file.make())


def test_an_upload_is_found_by_its_fingerprint(folder, upload_view, tmp_path) -> None:
    path = put(tmp_path / "view.json", upload_view)
    anew = numbers_again(path, Sources(image=folder / "photo.png", checkpoints=folder))
    assert anew["numbers"] == upload_view["numbers"]
    assert anew["image"] == upload_view["image"]
    assert str(folder) not in path.read_text()


def test_an_image_of_a_data_set_is_found_by_its_id(folder, data_view, tmp_path) -> None:
    path = put(tmp_path / "view.json", data_view)
    spec = f"folder:{folder / 'data'}"
    anew = numbers_again(path, Sources(data=spec, checkpoints=folder))
    assert anew["numbers"] == data_view["numbers"]
    assert anew["numbers"]["region"] is not None
    assert str(folder) not in path.read_text()


def test_a_checkpoint_is_found_under_another_name(folder, data_view, tmp_path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for k, key in enumerate(KEYS.values()):
        (moved / f"x{k}.safetensors").write_bytes((folder / key).read_bytes())
    path = put(tmp_path / "view.json", data_view)
    anew = numbers_again(path, Sources(data=f"folder:{folder / 'data'}", checkpoints=moved))
    assert anew["numbers"] == data_view["numbers"]
    assert anew["checkpoints"]["B"]["key"] == "x1.safetensors"


def refused(path: Path, sources: Sources) -> str:
    with pytest.raises(GstoVizError) as caught:
        replay(read_view(path), sources)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_missing_or_has_changed_is_refused(folder, upload_view, data_view, tmp_path):
    view = put(tmp_path / "upload.json", upload_view)
    photo, spec = folder / "photo.png", f"folder:{folder / 'data'}"
    assert "give it with --image" in refused(view, Sources(checkpoints=folder))
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes() + b"\0")
    assert "not the file" in refused(view, Sources(image=other, checkpoints=folder))
    assert "is not a file" in refused(view, Sources(image=folder, checkpoints=folder))
    assert "leave --data out" in refused(view, Sources(data=spec, image=photo))
    assert "is not shipped" in refused(view, Sources(image=photo))
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / KEYS["A"]).write_bytes((folder / KEYS["B"]).read_bytes())
    assert "plain.safetensors has changed" in refused(
        view, Sources(image=photo, checkpoints=changed)
    )
    view = put(tmp_path / "data.json", data_view)
    assert "--data SPEC" in refused(view, Sources(checkpoints=folder))
    assert "has no image" in refused(view, Sources(data="scenes:count=1", checkpoints=folder))
    assert "leave --image out" in refused(view, Sources(data=spec, image=photo))


def test_other_pixels_and_other_labels_are_refused(folder, data_view, tmp_path) -> None:
    spec = f"folder:{folder / 'data'}"
    for field, message in (("pixels_sha256", "other pixels"), ("labels_sha256", "labels of")):
        record = json.loads(json.dumps(data_view))
        record["image"][field] = "0" * 64
        view = put(tmp_path / "view.json", record)
        assert message in refused(view, Sources(data=spec, checkpoints=folder))


def folder_of(**changes: str) -> dict[str, str]:
    """How a view names a folder."""
    return {"key": "a", "kind": "training", "sha256": "0" * 64} | changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(schema_version=2), "newer schema"),
        (lambda r: r.update(schema_version=True), "no schema that is known"),
        (lambda r: r.update(schema="other"), "not a view of the explorer"),
        (lambda r: r.update(extra=1), "1 entries that this version does not know"),
        (lambda r: r.pop("numbers"), "lacks 'numbers'"),
        (lambda r: r.update(page="attic"), "does not know"),
        (lambda r: r.update(page=["explore"]), "does not know"),
        (lambda r: r.update(page="method"), "cannot be replayed"),
        (lambda r: r.update(image=None), "cannot be replayed"),
        (lambda r: r.update(numbers=[1]), "numbers is not a JSON object"),
        (lambda r: r["view"].update(depth=3), "1 settings"),
        (lambda r: r["view"].update(x="5"), "setting 'x' is not a whole number"),
        (lambda r: r["view"].update(x=True), "setting 'x'"),
        (lambda r: r["view"].update(x=-1), "setting 'x'"),
        (lambda r: r["view"].update(x=10**300), "setting 'x'"),
        (lambda r: r["view"].update(mode="loud"), "setting 'mode' is none of"),
        (lambda r: r["view"].update(mode=None), "setting 'mode'"),
        (lambda r: r["view"].update(opacity=7.5), "setting 'opacity'"),
        (lambda r: r["view"].update(difference=1), "setting 'difference'"),
        (lambda r: r["view"].update(cls={"a": 1}), "setting 'cls'"),
        (lambda r: r["checkpoints"].update(C={}), "checkpoints has 1 entries"),
        (lambda r: r["checkpoints"].pop("B"), "checkpoints lacks 'B'"),
        (lambda r: r["checkpoints"]["A"].update(sha256="../../etc"), "checkpoint A"),
        (lambda r: r["checkpoints"]["A"].update(name=5), "checkpoint A"),
        (lambda r: r.update(folders={}), "folders is not a list"),
        (lambda r: r.update(folders=[folder_of()]), "checkpoints has 2 entries"),
        (lambda r: r.update(folders=[folder_of()] * 7, checkpoints={}), "not a list of at most 6"),
        (lambda r: r.update(folders=[folder_of(kind="zip")], checkpoints={}), "not described"),
        (lambda r: r.update(folders=[folder_of(sha256="")], checkpoints={}), "not described"),
        (lambda r: r.update(folders=[folder_of(path="/")], checkpoints={}), "has 1 entries"),
        (lambda r: r.update(folders=[folder_of()], checkpoints={}), "does not show these"),
        (lambda r: r["image"].update(source="web"), "image is not described"),
        (lambda r: r["image"].update(pixels_sha256=5), "image is not described"),
        (lambda r: r["image"].update(path="/etc/passwd"), "image has 1 entries"),
    ],
)
def test_what_a_view_cannot_hold_is_refused(upload_view, tmp_path, change, message) -> None:
    record = json.loads(json.dumps(upload_view))
    change(record)
    assert message in refused(put(tmp_path / "view.json", record), Sources())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"schema": NaN}',
        b"\xff\xfe",
        b"[]",
        b"1" * 5000,
        b" " * (2**20 + 1),
    ],
    ids=("empty", "cut", "deep", "nan", "utf16", "list", "long number", "huge"),
)
def test_damaged_files_are_one_sentence_and_exit_2(content, tmp_path, capsys) -> None:
    view = tmp_path / "view.json"
    view.write_bytes(content)
    words = ["export", "--view", str(view), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("gsto-viz export: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def stopped(*_: object) -> bytes:
    raise KeyboardInterrupt


def test_nothing_is_half_written(folder, upload_view, tmp_path, monkeypatch, capsys) -> None:
    view = put(tmp_path / "view.json", upload_view)
    photo, out = folder / "photo.png", tmp_path / "out"
    words = ["export", "--view", str(view), "--out", str(out), "--image", str(photo), "--quiet"]
    words += ["--checkpoints", str(folder)]
    monkeypatch.setattr("gsto_viz.explorer.exports.files._figure", lambda *_: b"drawn")
    monkeypatch.setattr("gsto_viz.explorer.exports.explore.maps_npz", stopped)
    assert main(words) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["view.json"]
    monkeypatch.setattr("gsto_viz.explorer.exports.explore.maps_npz", lambda *_: b"maps")
    assert main(words) == 0
    assert "largest difference 0 (of 1" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {
        "view.png", "view.svg", "view.pdf", "figure.png", "figure.svg", "figure.pdf",
        "profile.csv", "scores.csv", "maps.npz", "view.json", "tiles",
    }  # fmt: skip
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    (out / "mine.txt").write_text("mine")
    assert main([*words, "--overwrite"]) == 2
    assert (out / "mine.txt").read_text() == "mine"


def test_numbers_are_compared_leaf_by_leaf() -> None:
    saved = {"a": [1.0, 2.0, None], "b": {"c": "x", "d": 3}, "e": True}
    same = agreement(saved, json.loads(json.dumps(saved)))
    assert (same.count, same.largest, same.others) == (3, 0.0, ())
    other = agreement(saved, {"a": [1.0, 2.5], "b": {"c": "y", "d": 3}, "e": 1, "f": 0})
    assert (other.count, other.largest) == (3, 0.5 / 2.5)
    assert agreement([0.25, -4000], [0.5, -4001]).largest == 0.25
    assert other.others == ("numbers.a[2]", "numbers.b.c", "numbers.e", "numbers.f")


texts = st.none() | st.text(min_size=1, max_size=40).filter(str.isprintable)
pixels = st.none() | st.integers(0, 99_999)


@settings(max_examples=60)
@given(
    st.builds(
        ViewState,
        scene=st.integers(0, 9999),
        image=texts,
        a=texts,
        run=texts,
        cls=texts,
        x=pixels,
        px=pixels,
        opacity=st.floats(0.1, 1),
        ox=st.floats(0, 1),
        gap=st.floats(1, 4),
        difference=st.booleans(),
        side=st.integers(4, 256),
    )
)
def test_every_view_comes_back_from_json(state) -> None:
    assert state_from_json(json.loads(json.dumps(state.to_json()))) == state


def test_views_of_a_read_file_are_those_that_were_written(upload_view, tmp_path) -> None:
    view = read_view(put(tmp_path / "view.json", upload_view))
    assert isinstance(view, ViewFile)
    assert view.state == ViewState(**upload_view["view"])
    assert view.checkpoints["B"].key == KEYS["B"]
    assert (view.image.height_px, view.image.width_px) == (64, 96)


@pytest.mark.parametrize(("by", "status"), [(0.0, 0), (1e-6, 0), (0.05, 1), (None, 1)])
def test_other_numbers_than_the_views_give_status_1(
    folder, upload_view, tmp_path, monkeypatch, capsys, by, status
) -> None:
    record = json.loads(json.dumps(upload_view))
    scores = record["numbers"]["scores"][2]
    scores["A"] = "gone" if by is None else scores["A"] + by
    view, out = put(tmp_path / "view.json", record), tmp_path / "out"
    words = ["export", "--view", str(view), "--out", str(out), "--quiet"]
    words += ["--image", str(folder / "photo.png"), "--checkpoints", str(folder)]
    monkeypatch.setattr("gsto_viz.explorer.exports.files._figure", lambda *_: b"drawn")
    assert main(words) == status
    assert (out / "scores.csv").stat().st_size > 0
    said = capsys.readouterr()
    if status == 0:
        assert said.err == ""
        assert "the numbers of the view: " in said.out
        return
    assert "the numbers of the view" not in said.out
    assert said.err.startswith("gsto-viz export: ")
    assert "numbers than in the view" in said.err
    assert said.err.count("\n") == 1
    assert ("largest difference 0.05 " if by else "numbers.scores[2].A differs") in said.err
