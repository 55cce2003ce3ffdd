"""Images in other formats and in sub-folders are read, or named as left out."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsto_viz.data import load_data, read_image, read_values, unread_names
from gsto_viz.errors import GstoVizError

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
NUMBERS = np.random.default_rng(1).choice(np.array([0, 1, 5, 255], np.uint8), (12, 20))


@pytest.mark.parametrize("suffix", ["webp", "tif", "tiff", "bmp", "ppm", "png"])
def test_lossless_pictures_come_out_as_they_went_in(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PICTURE).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert (read_image(path) == PICTURE).all()


@pytest.mark.parametrize("suffix", ["tif", "bmp", "gif"])
@pytest.mark.parametrize("palette", [False, True])
def test_numbers_come_out_as_they_went_in(tmp_path: Path, suffix: str, palette: bool) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.fromarray(NUMBERS)
    if palette:
        image.putpalette(list(np.random.default_rng(2).permutation(768) % 256))
    image.save(path)
    if palette and suffix == "gif":
        with pytest.raises(GstoVizError, match="is in colour, and the palette of a GIF"):
            read_values(path)
    else:
        assert (read_values(path) == NUMBERS).all()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_16_bit_tiff(tmp_path: Path, compression: str | None) -> None:
    values = NUMBERS.astype(np.uint16) * 200
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    assert (read_values(tmp_path / "a.tif") == values).all()
    grey = read_image(tmp_path / "a.tif")
    assert (grey[..., 1] == np.round(values / 257)).all()


def test_formats_that_change_numbers_are_refused(tmp_path: Path) -> None:
    Image.fromarray(NUMBERS).save(tmp_path / "a.tif", compression="jpeg")
    Image.fromarray(PICTURE).save(tmp_path / "b.webp")
    for name in ("a.tif", "b.webp"):
        with pytest.raises(GstoVizError, match="may change the values"):
            read_values(tmp_path / name)
    Image.fromarray(PICTURE).save(tmp_path / "c.bmp")
    Image.fromarray(NUMBERS.astype(np.float32)).save(tmp_path / "d.tif")
    for name in ("c.bmp", "d.tif"):
        with pytest.raises(GstoVizError, match="one number"):
            read_values(tmp_path / name)
    with pytest.raises(GstoVizError, match="32-bit numbers"):
        read_image(tmp_path / "d.tif")


@pytest.mark.parametrize("suffix", ["webp", "tif", "bmp", "gif", "ppm"])
def test_damage_and_size_are_said(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PICTURE).save(path)
    with pytest.raises(GstoVizError, match=r"more than the 0\.0001 million"):
        read_image(path, max_pixels=100)
    whole = path.read_bytes()
    for length in range(4, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        with contextlib.suppress(GstoVizError):  # nothing else may come out
            read_image(path)


@pytest.mark.parametrize("suffix", ["tif", "webp"])
def test_orientation(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(PICTURE).save(tmp_path / f"a.{suffix}", exif=exif, **lossless)
    assert (read_image(tmp_path / f"a.{suffix}") == np.rot90(PICTURE, -1)).all()


def test_the_first_picture_of_several(tmp_path: Path) -> None:
    first, second = Image.fromarray(NUMBERS), Image.fromarray(NUMBERS // 2)
    for name in ("a.gif", "a.tif"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert (read_values(tmp_path / name) == NUMBERS).all()


def test_a_folder_of_many_formats_and_sub_folders(tmp_path: Path) -> None:
    names = ["a.png", "b.webp", "c.tif", "d.bmp", "x/a.png", "y/a.ppm", "y/z/e.jpg"]
    for name in names:
        for part, array in (("images", PICTURE), ("labels", NUMBERS % 2)):
            path = tmp_path / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path if part == "images" else path.with_suffix(".png"))
    (tmp_path / "images" / "x" / "b.heic").write_bytes(b"x")
    (tmp_path / "images" / "y" / "loop").symlink_to(tmp_path / "images")
    classes = [{"id": k, "name": f"c{k}", "color": [k, 0, 0], "kind": "stuff"} for k in (0, 1)]
    value = {"name": "toy", "ignore": 255, "classes": classes}
    (tmp_path / "classes.json").write_text(json.dumps(value))
    data = load_data(f"folder:{tmp_path}")
    assert data.ids == ("a", "b", "c", "d", "x/a", "y/a", "y/z/e")
    assert all((sample.labels == NUMBERS % 2).all() for sample in data)
    assert unread_names(data) == ("images/x/b.heic",)


def test_a_size_that_exif_changes_is_said(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PICTURE).save(tmp_path / "images" / "a.jpg", exif=exif)
    Image.fromarray(NUMBERS % 2).save(tmp_path / "labels" / "a.png")
    classes = [{"id": k, "name": f"c{k}", "color": [k, 0, 0], "kind": "stuff"} for k in (0, 1)]
    value = {"name": "toy", "ignore": 255, "classes": classes}
    (tmp_path / "classes.json").write_text(json.dumps(value))
    with pytest.raises(GstoVizError, match="EXIF turns the image by 90 degrees"):
        load_data(f"folder:{tmp_path}")[0]
