"""Pictures, choices, tables and drawings below the page, and the checks before it is served."""

import hashlib
import io
import json
import socket
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import streamlit
from PIL import Image
from streamlit.runtime.caching.hashing import UserHashError

from gsto_viz import GstoVizError
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import render_scene
from gsto_viz.explorer import cached, checkpoints, entry, pictures, server
from gsto_viz.explorer.exports.files import drawn, sizes_csv
from gsto_viz.explorer.shown import annotated_for, branch_pattern, check_classes
from gsto_viz.explorer.values import probe as comparison
from gsto_viz.look import Look
from gsto_viz.models import build_model, registered
from gsto_viz.plots import figure_scale_confusion
from gsto_viz.types import ClassInfo, ClassList


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def inspection(name: str, shape: tuple[int, int], seed: int) -> Look:
    rng = np.random.default_rng(seed)
    grids = [(-(-shape[0] // s), -(-shape[1] // s)) for s in (4, 8, 16, 32)]
    maps = tuple(rng.random(grid, dtype=np.float32) for grid in grids)
    return Look(
        name=name,
        network="hrnetv2-tiny",
        strides=(4, 8, 16, 32),
        prediction=rng.integers(0, 11, shape, dtype=np.uint8),
        raw=maps,
        activity=maps,
        gates={},
        gate_range=None,
    )


# pictures


def test_scene_picture_is_the_scene_of_the_evaluation_seed():
    picture = pictures.scene_picture(7)
    expected = render_scene(1_000_000, 7, 256, 512)
    assert picture.sample.id == "scene-1000000-00007"
    np.testing.assert_array_equal(picture.sample.image, expected.image)
    np.testing.assert_array_equal(picture.sample.labels, expected.labels)
    assert picture.classes == CAMVID_CLASSES


def test_small_upload_is_taken_as_it_is():
    image = noise(33, 70)
    picture = pictures.upload_picture(png(image), "a photo $x$.png")
    np.testing.assert_array_equal(picture.sample.image, image)
    assert picture.sample.labels is None
    assert picture.classes is None
    assert picture.sample.id == "a-photo-x-.png"
    assert picture.description.startswith("Your image, 70 x 33 pixels; ")


def test_large_upload_is_averaged_down():
    image = noise(512, 2048)
    picture = pictures.upload_picture(png(image), "wide.png")
    blocks = image.reshape(256, 2, 1024, 2, 3).mean(axis=(1, 3))
    assert picture.sample.image.shape == (256, 1024, 3)
    assert np.abs(picture.sample.image - blocks).max() <= 1
    assert "2048 x 512 pixels, made 1024 x 256" in picture.description


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"<svg onload=alert(1)>", "PNG"),
        (b"GIF89a" + bytes(50), "GIF|PNG"),
        (png(noise(64, 64))[:200], "mine.png"),
        (png(np.zeros((1, 1, 3), np.uint8)), "at least 32"),
        (png(np.zeros((40, 4000, 3), np.uint8)), "1024 x 10"),
        (png(np.zeros((4001, 4000), np.uint8)), "16 million"),
    ],
)
def test_bad_uploads_are_refused_in_one_sentence(content, what):
    with pytest.raises(GstoVizError, match=what) as caught:
        pictures.upload_picture(content, "mine.png")
    assert "mine.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_many_bytes_are_refused():
    with pytest.raises(GstoVizError, match="make it smaller"):
        pictures.upload_picture(bytes(20_000_001), "big.png")


def test_keys_tell_shape_and_pixels_apart():
    image = noise(32, 64)
    other = image.copy()
    other[31, 63, 2] ^= 1
    images = [image, other, image.reshape(64, 32, 3), image.transpose(1, 0, 2)]
    assert len({pictures.pixel_key(i) for i in images}) == 4
    assert pictures.upload_fingerprint(b"abc") == hashlib.sha256(b"abc").hexdigest()[:16]


# checkpoints


def test_choices_of_a_folder(tmp_path, tiny_files):
    (tmp_path / "run").mkdir()
    (tmp_path / "a.safetensors").write_bytes(tiny_files["plain"].read_bytes())
    (tmp_path / "run" / "best.safetensors").write_bytes(tiny_files["gated"].read_bytes())
    (tmp_path / "run" / "bare.safetensors").write_bytes(tiny_files["no_gains"].read_bytes())
    (tmp_path / "junk.safetensors").write_bytes(b"\x80\x04junk" * 100)
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "x.safetensors").write_bytes(b"")
    (tmp_path / "weights.pt").write_bytes(b"never looked at")
    choices, left_out = checkpoints.list_choices(tmp_path)
    assert [(c.key, c.gated, c.notice) for c in choices] == [
        ("a.safetensors", False, None),
        ("run/best.safetensors", True, "for research only"),
    ]
    assert all(c.classes.names == CAMVID_CLASSES.names for c in choices)
    assert [sentence.split()[0] for sentence in left_out] == [
        "gone.safetensors",
        "junk.safetensors",
        "run/bare.safetensors",
    ]
    assert checkpoints.default_pair(choices) == ("a.safetensors", "run/best.safetensors")


def test_choices_notice_a_changed_file(tmp_path, tiny_files):
    path = tmp_path / "a.safetensors"
    path.write_bytes(tiny_files["plain"].read_bytes())
    assert not checkpoints.list_choices(tmp_path)[0][0].gated
    path.write_bytes(tiny_files["gated"].read_bytes())
    assert checkpoints.list_choices(tmp_path)[0][0].gated


def choice(key: str, gated: bool, classes: tuple[str, ...] = ("x",)) -> checkpoints.Choice:
    path = checkpoints.Path(key)
    infos = tuple(ClassInfo(k, name, (0, 0, k), thing=True) for k, name in enumerate(classes))
    return checkpoints.Choice(key, path, (0, 0), "net", ClassList("c", infos), gated, None)


def test_default_pair():
    shipped = [choice(key, gated=True) for key in ("a", *checkpoints.SHIPPED_PAIR)]
    assert checkpoints.default_pair(shipped) == checkpoints.SHIPPED_PAIR
    assert checkpoints.default_pair([]) is None
    assert checkpoints.default_pair([choice("g", True)]) == ("g", "g")
    assert checkpoints.default_pair([choice("g", True), choice("p", False)]) == ("p", "g")
    assert checkpoints.default_pair([choice("p", False), choice("q", False)]) == ("p", "q")
    other = choice("g", True, ("x", "y"))
    assert checkpoints.default_pair([choice("p", False), other]) == ("p", "p")
    check_classes(choice("p", False), choice("q", True))
    with pytest.raises(GstoVizError, match=r"A \(p\) knows x and B \(g\) knows x, y"):
        check_classes(choice("p", False), other)


# tables


def test_table_agrees_with_a_loop():
    sample = render_scene(1_000_000, 3, 128, 256)
    shown = {letter: inspection(letter, (128, 256), seed) for letter, seed in (("A", 1), ("B", 2))}
    frames = comparison.responses(sample, shown)
    table = comparison.side_by_side(frames)
    assert list(table.columns) == [
        *("size (px)", "regions"),
        *(f"{letter} /{s}" for letter in "AB" for s in (4, 8, 16, 32)),
    ]
    for _, row in table.iterrows():
        low, high = (int(part) for part in row["size (px)"].split(" to "))
        assert high == 2 * low
        for letter in "AB":
            rows = frames[letter]
            rows = rows[(2 ** rows["octave"] == low) & (rows["stride"] == 16)]
            assert rows["mean"].item() == row[f"{letter} /16"]
            assert rows["n_regions"].item() == row["regions"]


def test_the_table_as_a_file_says_what_each_row_comes_from(made_up):
    shown = made_up()
    frames = comparison.responses(shown.sample, shown.inspections)
    back = pd.read_csv(io.BytesIO(sizes_csv(shown, frames)))
    assert len(back) == len(frames["A"]) + len(frames["B"])
    assert set(back["sha256"]) == {"a" * 64, "b" * 64}
    assert set(back["image"]) == {shown.sample.id}
    np.testing.assert_allclose(
        back.loc[back["model"] == "B", "mean percentile (0..1)"], frames["B"]["mean"]
    )
    lower = back["size, lower end (octaves)"].tolist()
    assert lower == [*frames["A"]["octave"], *frames["B"]["octave"]]
    assert list(back.columns[4:]) == [
        "branch", "stride (px)", "size, lower end (octaves)", "mean percentile (0..1)", "regions",
        "images",
    ]  # fmt: skip


def test_labels_of_other_classes_are_left_out():
    picture = pictures.scene_picture(0)
    same, why = annotated_for(picture, CAMVID_CLASSES)
    assert same is picture.sample
    assert why is None
    other = ClassList("two", tuple(ClassInfo(i, n, (0, 0, 0), False) for i, n in enumerate("ab")))
    bare, why = annotated_for(picture, other)
    assert bare.labels is None
    assert bare.instances is None
    assert "other classes" in why
    upload = replace(picture, classes=None, sample=bare)
    assert "no labels" in annotated_for(upload, CAMVID_CLASSES)[1]


@pytest.mark.parametrize("name", [name for name in registered() if name.endswith("-tiny")])
def test_the_branches_of_a_network_have_the_names_of_its_taps(name):
    taps = build_model(name).describe().branch_taps
    pattern = branch_pattern(taps)
    assert [pattern.replace("*", str(branch)) for branch in range(len(taps))] == list(taps)
    assert pattern in ("stage4.branch*", "pyramid.branch*", "stage4.m0.branch*.pre")


@pytest.mark.parametrize(("kind", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_drawings_are_files_with_words(kind, head):
    sample = render_scene(1_000_000, 3, 128, 256)
    shown = {letter: inspection(letter, (128, 256), 1) for letter in "AB"}
    make = partial(figure_scale_confusion, sample, shown, classes=CAMVID_CLASSES, mode="shared")
    drawing = drawn(make, kind)
    assert drawing.content.startswith(head)
    assert sample.id in drawing.alt


# before the server starts


def test_a_taken_port_is_refused_and_a_free_one_is_left_free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GstoVizError, match=f"port {port}.*another --port"):
            server.check_place("127.0.0.1", port)
    server.check_place("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("port", [0, -1, 65536, 10**9])
def test_impossible_ports(port):
    with pytest.raises(GstoVizError, match="1 to 65535"):
        server.check_place("127.0.0.1", port)


def test_addresses():
    assert server.is_loopback("localhost")
    assert server.is_loopback("127.0.0.5")
    assert server.is_loopback("::1")
    assert not server.is_loopback("0.0.0.0")
    assert not server.is_loopback("example.org")
    assert server.url_of("127.0.0.1", 1) == "http://127.0.0.1:1"
    assert server.url_of("::", 1) == "http://[::1]:1"
    with pytest.raises(GstoVizError, match="not an address"):
        server.check_place("not an address", 8501)


def test_a_folder_that_is_not_there(tmp_path):
    assert server.check_folder(str(tmp_path), "--runs", "runs") == tmp_path.resolve()
    with pytest.raises(GstoVizError, match=r"--runs .*missing is not a folder; give one with runs"):
        server.check_folder(str(tmp_path / "missing"), "--runs", "runs")


def test_settings_send_and_fetch_nothing():
    values = server.settings("127.0.0.1", 8501, open_browser=False)
    assert values["browser.gatherUsageStats"] is False
    assert values["server.address"] == "127.0.0.1"
    assert values["server.maxUploadSize"] == 20
    assert "127.0.0.1" in values["server.allowedHosts"]
    assert "http" not in json.dumps(values)
    # On an open address any name may be ours; a list of names would lock people out.
    assert server.settings("0.0.0.0", 8501, open_browser=False)["server.allowedHosts"] == []


def test_what_the_server_is_given_reaches_the_pages(monkeypatch, tmp_path):
    given = server.Offers(checkpoints=tmp_path, data="scenes:count=1")
    served = []

    class App:
        def __init__(self, script: str) -> None:
            self.script = script

        def run(self, config: dict[str, object]) -> None:
            served.append((self.script, config["server.port"], server.offered()))

    monkeypatch.setattr(streamlit, "App", App)
    monkeypatch.setattr(server, "_import_pages", lambda: None)
    server.serve("127.0.0.1", 8501, given, open_browser=False)
    assert served == [(entry.__file__, 8501, given)]


def test_caches_are_keyed_on_fingerprints_and_never_on_arrays(made_up):
    made = []

    @cached.kept(4)
    def named(shown, number):
        made.append(number)
        return shown.sample.id

    one = made_up()
    # Another object of the same image and networks; another checkpoint; another number.
    changed = replace(one, fingerprints={"A": "a" * 64, "B": "c" * 64})
    for shown, number in ((one, 1), (replace(one), 1), (changed, 2), (one, 3), (changed, 2)):
        assert named(shown, number) == "made-up"
    assert made == [1, 2, 3]
    for value in (one.sample.image, pd.DataFrame({"q": [1]}), one.sample, [one.inspections["A"]]):
        with pytest.raises(UserHashError, match="is not a key of a cache"):
            named(one, value)
    assert made == [1, 2, 3]
