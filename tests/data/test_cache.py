"""Decoded copies: the same samples, made once, never old ones, whole or not at all."""

import multiprocessing
import operator
import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from gsto_viz.data import (
    CAMVID_CLASSES,
    DATA_SETS,
    PredecodedCache,
    load_data,
    read_image,
    write_png,
)
from gsto_viz.data import base as reading
from gsto_viz.errors import GstoVizError
from gsto_viz.files import write_json

open_split = DATA_SETS["folder"].open


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for stem in ("a", "b.c", "d"):
        write_png(root / "images" / f"{stem}.png", rng.integers(0, 256, (64, 96, 3)).astype("u1"))
        write_png(root / "labels" / f"{stem}.png", rng.integers(0, 11, (64, 96)).astype("u1"))
        write_png(root / "instances" / f"{stem}.png", rng.integers(0, 9, (64, 96)).astype("u2"))
    write_json(root / "classes.json", CAMVID_CLASSES.to_json())
    return root


@pytest.fixture
def decoded(monkeypatch):
    """Paths of the images that were decoded, in order."""
    paths = []

    def note(path):
        paths.append(path)
        return read_image(path)

    monkeypatch.setattr(reading, "read_image", note)
    return paths


def same(ours, theirs):
    for name in ("image", "labels", "instances"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
    assert (ours.id, ours.group) == (theirs.id, theirs.group)


def test_same_samples_decoded_once(folder, tmp_path, decoded):
    base = open_split(folder)
    cached = PredecodedCache(base, tmp_path / "cache")
    assert (cached.name, cached.ids, len(cached)) == (base.name, base.ids, 3)
    assert cached.classes == base.classes
    for _ in range(2):
        for index in range(3):
            same(cached[index], base[index])
    assert len(decoded) == 3 * 2 + 3
    same(cached[-1], base[2])
    with pytest.raises(IndexError):
        cached[3]
    again = pickle.loads(pickle.dumps(PredecodedCache(base, tmp_path / "cache")))
    decoded.clear()
    sample = again[1]
    assert decoded == []
    assert not sample.image.flags.writeable
    assert type(sample.image) is np.ndarray


def test_any_change_of_a_file_makes_its_copy_unknown(folder, tmp_path, decoded):
    cached = PredecodedCache(open_split(folder), tmp_path / "cache")
    cached.fill(quiet=True)
    decoded.clear()
    image, labels = (folder / part / f"{cached.ids[1]}.png" for part in ("images", "labels"))
    write_png(image, np.full((64, 96, 3), 9, np.uint8))
    assert (cached[1].image == 9).all()
    assert decoded == [image]
    # Of another time only: same name, same size.
    status = image.stat()
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    cached[1]
    assert decoded == [image] * 2
    write_png(labels, np.full((64, 96), 2, np.uint8))
    assert (cached[1].labels == 2).all()
    cached[1], cached[0], cached[2]
    assert decoded == [image] * 3
    # The old copies are gone: one array of each kind for each sample.
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 9


def test_another_class_list_is_another_copy(folder, tmp_path):
    """What 255 means stands in classes.json, and a copy of labels is old when that changes."""
    PredecodedCache(open_split(folder), tmp_path / "cache").fill(quiet=True)
    text = (folder / "classes.json").read_text()
    changed = text.replace('"ignore": 255', '"ignore": 300')
    assert changed != text
    (folder / "classes.json").write_text(changed)
    path = folder / "labels" / f"{open_split(folder).ids[0]}.png"
    cached = PredecodedCache(open_split(folder), tmp_path / "cache")
    same(cached[0], open_split(folder)[0])
    path.unlink()
    with pytest.raises(GstoVizError, match=rf"cannot read {path}: No such file"):
        cached[0]


def test_data_sets_share_a_folder_and_do_not_mix(folder, tmp_path):
    for split in ("train", "val"):
        for stem in ("A_1", "A_2"):
            shade = len(split) * 10
            write_png(tmp_path / split / f"{stem}{split}.png", np.full((8, 8, 3), shade, np.uint8))
            write_png(tmp_path / f"{split}annot" / f"{stem}{split}.png", np.zeros((8, 8), np.uint8))
    cache = tmp_path / "cache"
    sets = [
        load_data(spec, cache=cache)
        for spec in (f"camvid:{tmp_path}:train", f"camvid:{tmp_path}:val", f"folder:{folder}")
    ]
    plain = [load_data(data.name) for data in sets]
    for _ in range(2):
        for data, base in zip(sets, plain, strict=True):
            for index in range(len(base)):
                same(data[index], base[index])
    small = load_data(f"folder:{folder}", cache=cache, size=(32, 48))
    assert small[0].image.shape == (32, 48, 3)


def test_what_is_not_made_of_files_is_refused(tmp_path):
    with pytest.raises(GstoVizError, match=r"^scenes:\S+ is not read from files, so it can"):
        load_data("scenes:count=1,size=64x96", cache=tmp_path)


def test_a_copy_that_was_cut_or_exchanged(folder, tmp_path):
    cached = PredecodedCache(open_split(folder), tmp_path / "cache")
    cached[0]
    (path,) = (tmp_path / "cache").rglob("image-*.npy")
    whole = path.read_bytes()
    for content in (b"", b"x", whole[:60], whole[:-1], b"\x80\x04]\x94."):
        path.write_bytes(content)
        with pytest.raises(GstoVizError, match=rf"{path}, a decoded copy, is damaged; delete it"):
            cached[0]
    np.save(path, np.zeros((4, 4), np.float64))
    with pytest.raises(GstoVizError, match="is damaged; delete it, it is made again"):
        cached[0]
    path.unlink()
    same(cached[0], open_split(folder)[0])


def test_nothing_half_written_when_the_disk_is_full(folder, tmp_path, monkeypatch):
    cached = PredecodedCache(open_split(folder), tmp_path / "cache")

    def full(file, array, **_):
        file.write_bytes(b"\x93NUMPY")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(GstoVizError, match=r"cannot write \S+image-\S+npy: No space left"):
        cached[0]
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []
    monkeypatch.undo()
    same(cached[0], open_split(folder)[0])


def test_a_wrong_file_is_named_and_nothing_kept(folder, tmp_path):
    base = open_split(folder)
    path = folder / "images" / f"{base.ids[2]}.png"
    path.write_bytes(path.read_bytes()[:-30])
    cached = PredecodedCache(base, tmp_path / "cache")
    with pytest.raises(GstoVizError, match=r"images/\S+png is truncated"):
        cached.fill(threads=2, quiet=True)
    assert list((tmp_path / "cache").glob(f"*/{base.ids[2]}/*")) == []


def test_many_threads_and_processes_fill_one_folder(folder, tmp_path):
    base = open_split(folder)
    cached = PredecodedCache(base, tmp_path / "cache")
    with ThreadPoolExecutor(8) as pool:
        for sample in pool.map(cached.__getitem__, [0, 1, 2] * 8):
            same(sample, base[base.ids.index(sample.id)])
    # A pool of multiprocessing would wait for ever for a process that has died.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        sample = pool.submit(operator.getitem, cached, 1).result()
    same(sample, base[1])
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 9
