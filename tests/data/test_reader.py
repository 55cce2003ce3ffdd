"""The safe reader. Test files are built byte by byte here, and expectations are plain loops."""

import io
import os
import stat
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from gsto_viz.data import encode_instances, read_image, read_instance_map, read_label_map, write_png
from gsto_viz.data.reader import read_values
from gsto_viz.errors import GstoVizError, UnreadableImageError

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def make_png(values, depth, color_type, *, extra=b"", size=None):
    """A PNG from numbers (H, W, C), packed bit by bit; ``extra`` chunks come before the pixels."""
    values = np.asarray(values)
    if values.ndim == 2:
        values = values[..., None]
    height, width, channels = values.shape
    assert channels == CHANNELS[color_type]
    rows = b""
    for y in range(height):
        bits = "".join(format(int(v), f"0{depth}b") for v in values[y].ravel())
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    width, height = size or (width, height)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def photo(height=24, width=36):
    """A smooth picture that JPEG keeps within a few levels."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([3 * y + 40, 2 * x + 60, x + y + 30], axis=-1).astype(np.uint8)


def numbers(depth, color_type, shape=(5, 7)):
    rng = np.random.default_rng(depth * 10 + color_type)
    return rng.integers(0, 2**depth, (*shape, CHANNELS[color_type]))


def to_byte(value, depth):
    """Round value / (2^depth - 1) * 255 to nearest, in exact arithmetic."""
    top = 2**depth - 1
    return (2 * 255 * int(value) + top) // (2 * top)


# ---- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "color_type"),
    [(1, GREY), (2, GREY), (4, GREY), (8, GREY), (16, GREY), (8, RGB), (16, RGB)],
)
def test_opaque_png_of_every_depth(depth, color_type):
    values = numbers(depth, color_type)
    image = read_image(make_png(values, depth, color_type))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    for (y, x), _ in np.ndenumerate(values[..., 0]):
        expected = [to_byte(v, depth) for v in values[y, x]]
        assert image[y, x].tolist() == (expected if color_type == RGB else expected * 3)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("color_type", [GREY_ALPHA, RGB_ALPHA])
def test_alpha_lies_over_white(depth, color_type):
    values = numbers(depth, color_type)
    values[0, 0, -1], values[0, 1, -1] = 0, 2**depth - 1
    image = read_image(make_png(values, depth, color_type)).astype(int)
    top = 2**depth - 1
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            color = values[y, x, :-1] / top
            alpha = values[y, x, -1] / top
            exact = 255 * np.broadcast_to(color * alpha + 1 - alpha, (3,))
            # 16 bits are rounded to 8 before the mixing.
            assert np.abs(image[y, x] - exact).max() <= (0.5 if depth == 8 else 1.5) + 1e-9
    assert image[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_with_and_without_transparency(depth):
    values = numbers(depth, PALETTE)
    rng = np.random.default_rng(3)
    colors = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8)
    alphas = rng.integers(0, 256, 2**depth, dtype=np.uint8)
    plte = chunk(b"PLTE", colors.tobytes())
    plain = read_image(make_png(values, depth, PALETTE, extra=plte))
    mixed = read_image(
        make_png(values, depth, PALETTE, extra=plte + chunk(b"tRNS", alphas.tobytes()))
    )
    for (y, x), index in np.ndenumerate(values[..., 0]):
        assert plain[y, x].tolist() == colors[index].tolist()
        a = int(alphas[index])
        exact = [(int(c) * a + 255 * (255 - a)) / 255 for c in colors[index]]
        assert np.abs(mixed[y, x] - np.array(exact)).max() <= 0.5 + 1e-9


def test_palette_with_more_alphas_or_indices_than_colours():
    """What the palette lacks is black, and opaque unless an alpha says otherwise."""
    values = np.array([[0, 1, 2, 3]])
    extra = chunk(b"PLTE", bytes((10, 20, 30, 40, 50, 60))) + chunk(b"tRNS", b"\xff\x00\x80")
    image = read_image(make_png(values, 4, PALETTE, extra=extra))
    assert image.tolist() == [[[10, 20, 30], [255] * 3, [127] * 3, [0] * 3]]
    image = read_image(make_png(values, 4, PALETTE, extra=extra[:18]))
    assert image.tolist() == [[[10, 20, 30], [40, 50, 60], [0] * 3, [0] * 3]]
    extra = extra[:18] + chunk(b"tRNS", b"\xff" + bytes(299))
    image = read_image(make_png(values, 4, PALETTE, extra=extra))
    assert image.tolist() == [[[10, 20, 30], [255] * 3, [255] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("depth", "color_type"), [(1, GREY), (4, GREY), (8, GREY), (16, GREY), (8, RGB), (16, RGB)]
)
def test_transparent_color_becomes_white(depth, color_type):
    values = numbers(depth, color_type)
    key = values[2, 3].copy()
    values[1, 1] = key
    values[4, 4] = key ^ 1  # differs in the last bit only
    content = struct.pack(f">{len(key)}H", *(int(k) for k in key))
    plain = read_image(make_png(values, depth, color_type))
    image = read_image(make_png(values, depth, color_type, extra=chunk(b"tRNS", content)))
    for (y, x), _ in np.ndenumerate(values[..., 0]):
        transparent = all(values[y, x] == key)
        expected = [255] * 3 if transparent else plain[y, x].tolist()
        assert image[y, x].tolist() == expected


def test_jpeg_in_colour_grey_and_cmyk():
    picture = photo()
    color = read_image(saved(Image.fromarray(picture), "JPEG", quality=95, subsampling=0))
    assert np.abs(color.astype(int) - picture).max() <= 6
    grey = read_image(saved(Image.fromarray(picture[..., 0]), "JPEG", quality=95))
    assert np.abs(grey.astype(int) - picture[..., :1]).max() <= 6
    cmyk = read_image(saved(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(cmyk.astype(int) - picture).max() <= 12


def adam7(values, depth, color_type):
    """An interlaced PNG: seven smaller pictures, one after the other."""
    rows = b""
    for x, y, dx, dy in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
        (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
    ):  # fmt: skip
        part = values[y::dy, x::dx]
        if part.size:
            plain = make_png(part, depth, color_type)
            start = plain.index(b"IDAT")
            rows += zlib.decompress(plain[start + 4 : plain.index(b"IEND") - 8])
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 1)
    pixels = zlib.compress(rows)
    # Split over several chunks, as encoders may do.
    middle = len(pixels) // 2
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", pixels[:middle])
        + chunk(b"IDAT", b"")
        + chunk(b"IDAT", pixels[middle:])
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 5), (9, 17), (8, 8)])
@pytest.mark.parametrize(("depth", "color_type"), [(1, GREY), (8, RGB), (16, RGB)])
def test_interlaced_png(shape, depth, color_type):
    values = numbers(depth, color_type, shape)
    plain = read_image(make_png(values, depth, color_type))
    data = adam7(values, depth, color_type)
    assert np.array_equal(read_image(data), plain)


def test_progressive_jpeg():
    picture = photo(64, 80)
    jpeg = saved(Image.fromarray(picture), "JPEG", quality=95, subsampling=0, progressive=True)
    assert np.abs(read_image(jpeg).astype(int) - picture).max() <= 6


# Where the four corners of the upright picture lie in the file, by EXIF 2.3's words for row 0 and
# column 0: top-left, top-right, bottom-left, bottom-right as (row, column) of the file, -1 = last.
CORNERS = {
    1: ((0, 0), (0, -1), (-1, 0), (-1, -1)),
    2: ((0, -1), (0, 0), (-1, -1), (-1, 0)),
    3: ((-1, -1), (-1, 0), (0, -1), (0, 0)),
    4: ((-1, 0), (-1, -1), (0, 0), (0, -1)),
    5: ((0, 0), (-1, 0), (0, -1), (-1, -1)),
    6: ((-1, 0), (0, 0), (-1, -1), (0, -1)),
    7: ((-1, -1), (0, -1), (-1, 0), (0, 0)),
    8: ((0, -1), (-1, -1), (0, 0), (-1, 0)),
}


def exif(orientation, order=">"):
    mark = b"MM\x00*" if order == ">" else b"II*\x00"
    return (
        mark
        + struct.pack(order + "IH", 8, 2)
        + struct.pack(order + "HHIHH", 0x0100, 3, 1, 77, 0)
        + struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
        + struct.pack(order + "I", 0)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_rotation(orientation, order):
    values = np.arange(6 * 4 * 3).reshape(6, 4, 3)
    block = exif(orientation, order)
    image = read_image(make_png(values, 8, RGB, extra=chunk(b"eXIf", block)))
    assert image.shape == ((6, 4, 3) if orientation < 5 else (4, 6, 3))
    seen = [image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]]
    for corner, (row, column) in zip(seen, CORNERS[orientation], strict=True):
        assert corner.tolist() == values[row, column].tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_of_jpeg_as_pillow_does_it(orientation):
    from PIL import ImageOps

    data = saved(Image.fromarray(photo()), "JPEG", exif=b"Exif\0\0" + exif(orientation))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(read_image(data), np.asarray(upright))


@pytest.mark.parametrize(
    "block",
    [b"", b"MM", b"II*\0", b"II*\0\xff\xff\xff\xff", exif(1)[:20], exif(0), exif(9), b"x" * 40],
)
def test_broken_exif_is_no_rotation_and_no_warning(block):
    values = numbers(8, RGB)
    image = read_image(make_png(values, 8, RGB, extra=chunk(b"eXIf", block)))
    assert np.array_equal(image, values)
    jpeg = saved(Image.fromarray(photo()), "JPEG")
    with_exif = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(block)) + b"Exif\0\0" + block
    assert np.array_equal(read_image(with_exif + jpeg[2:]), read_image(jpeg))


def test_animated_png_gives_its_still_picture():
    frames = [Image.fromarray(np.full((4, 4, 3), v, np.uint8)) for v in (10, 200)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert b"acTL" in data
    assert (read_image(data) == 10).all()


def test_metadata_bomb_is_never_unpacked():
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(b"\0" * 50_000_000, 9))
    values = numbers(8, RGB)
    assert np.array_equal(read_image(make_png(values, 8, RGB, extra=text)), values)


def test_suffix_does_not_matter(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(saved(Image.fromarray(photo()), "JPEG"))
    assert read_image(path).shape == (24, 36, 3)


# ---- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"just some words\n", "is a text file, not a PNG or JPEG"),
        (b"GIF89a....", "its GIF header is wrong"),
        (b"\x00\x01\x02\x03" * 9, "unknown kind"),
        (b"\x89PNG\r\n\x1a\n", "is truncated"),
        (b"\xff\xd8\xff", "is truncated"),
        (b"\xff\xd8\xff\xd9", "is truncated"),
    ],
)
def test_not_an_image(tmp_path, content, words):
    path = tmp_path / "renamed.png"
    path.write_bytes(content)
    with pytest.raises(GstoVizError, match=words) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message


def test_float_tiff_is_refused():
    data = saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(GstoVizError, match="is a TIFF file, not a PNG or JPEG image; save it"):
        read_image(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_truncated_anywhere(format):
    data = saved(Image.fromarray(photo(64, 64)), format)
    for length in [*range(1, len(data), 37), len(data) - 2, len(data) - 1]:
        with pytest.raises(GstoVizError, match=r"truncated|damaged|not a PNG or JPEG"):
            read_image(data[:length])


def test_truncated_pixels_in_a_whole_png():
    values = numbers(8, RGB, (9, 9))
    data = make_png(values, 8, RGB, size=(9, 12))
    with pytest.raises(GstoVizError, match="is truncated"):
        read_image(data)
    data = make_png(numbers(16, RGB, (9, 9)), 16, RGB, size=(9, 12))
    with pytest.raises(GstoVizError, match="is truncated"):
        read_image(data)


def test_truncated_even_when_someone_told_pillow_to_accept_it(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for format in ("PNG", "JPEG"):
        data = saved(Image.fromarray(photo(64, 64)), format)
        with pytest.raises(GstoVizError, match="truncated"):
            read_image(data[: len(data) - 20])
    with pytest.raises(GstoVizError, match="truncated"):
        read_image(make_png(numbers(8, RGB, (9, 9)), 8, RGB, size=(9, 12)))


def test_flipped_bit_in_png_is_noticed():
    data = bytearray(make_png(numbers(8, RGB), 8, RGB))
    data[data.index(b"IDAT") + 10] ^= 4
    with pytest.raises(GstoVizError, match="checksum of its IDAT"):
        read_image(bytes(data))


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 1), (8001, 8000)])
def test_pixel_bomb_is_refused_from_its_header(size):
    data = make_png(numbers(8, RGB), 8, RGB, size=size)
    with pytest.raises(GstoVizError, match=rf"{size[0]} x {size[1]} pixels, more than the 64 mill"):
        read_image(data)


@pytest.mark.parametrize(
    ("size", "depth", "color_type", "colors", "words"),
    [
        ((0, 9), 8, RGB, 0, "damaged"),
        ((9, 0), 8, GREY, 0, "damaged"),
        ((9, 9), 3, GREY, 0, "damaged"),
        ((9, 9), 4, RGB, 0, "damaged"),
        ((9, 9), 0, GREY, 0, "damaged"),
        ((9, 9), 8, 5, 0, "damaged"),
        ((9, 9), 8, PALETTE, 0, "its palette is missing or wrong"),
        ((9, 9), 8, PALETTE, 257, "its palette is missing or wrong"),
        ((9, 9), 16, PALETTE, 256, "its palette is missing or wrong"),
        ((1_000_001, 1), 8, GREY, 0, "1000001 x 1 pixels, too long to decode"),
    ],
)
def test_pngs_that_cannot_be(size, depth, color_type, colors, words):
    header = struct.pack(">IIBBBBB", *size, depth, color_type, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3 * colors)) if colors else b""
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + b"\1\7" * 2_000_000))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + pixels + chunk(b"IEND", b"")
    with pytest.raises(UnreadableImageError, match=words):
        read_image(data)


def test_jpeg_bomb_is_refused_from_its_header():
    data = bytearray(saved(Image.fromarray(photo()), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(GstoVizError, match="65000 x 65000 pixels"):
        read_image(bytes(data))


def test_jpeg_with_thousands_of_scans_is_refused():
    data = saved(Image.fromarray(photo()), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    with pytest.raises(GstoVizError, match="scans"):
        read_image(data[:start] + data[start:-2] * 100 + data[-2:])


def test_limits_of_uploads():
    data = saved(Image.fromarray(photo()), "PNG")
    assert read_image(data, max_pixels=24 * 36, max_bytes=len(data)).shape == (24, 36, 3)
    with pytest.raises(GstoVizError, match=r"^the uploaded image is 36 x 24 pixels, more than"):
        read_image(data, max_pixels=24 * 36 - 1)
    with pytest.raises(GstoVizError, match=r"^cat\.png has .* more than"):
        read_image(data, max_bytes=len(data) - 1, name="cat.png")
    with pytest.raises(GstoVizError, match="is a PNG image; save it as JPEG"):
        read_image(data, formats=("JPEG",))


def test_large_file_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte of nothing; takes no disk space
    with pytest.raises(GstoVizError, match="more than the 256 MiB allowed"):
        read_image(path)


def test_no_file_folder_pipe_device(tmp_path):
    with pytest.raises(GstoVizError, match=r"missing\.png does not exist"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(GstoVizError, match="is a folder"):
        read_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(GstoVizError, match="is a pipe"):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(GstoVizError, match="device"):
        read_image("/dev/zero")
    with pytest.raises(GstoVizError, match="zero byte"):
        read_image("a\0b.png")
    with pytest.raises(GstoVizError, match="cannot read"):
        read_image(tmp_path / ("x" * 5000))
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    with pytest.raises(GstoVizError, match="cannot read"):
        read_image(loop)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_read_or_refused_in_one_sentence(data):
    """Nothing but an array or a GstoVizError comes out, and no warning (they are errors here)."""
    whole = data.draw(st.sampled_from(WHOLE))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    try:
        image = read_image(bytes(damaged[:cut]), max_pixels=100_000)
    except GstoVizError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert image.ndim == 3
        assert image.dtype == np.uint8


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3), st.binary(max_size=300), st.sampled_from([1, 2, 4, 8, 16]))
def test_any_chunk_content_with_right_checksums(which, content, depth):
    """Damage that checksums do not show: chunk contents are anything at all."""
    color_type = [GREY, RGB, PALETTE, RGB_ALPHA][which]
    header = struct.pack(">IIBBBBB", 5, 4, depth, color_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"PLTE", content)
    data += chunk(b"tRNS", content) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")
    for read in (read_image,):
        try:
            assert read(data).shape == (4, 5, 3)
        except GstoVizError as error:
            assert "\n" not in str(error)  # noqa: PT017


WHOLE = [
    saved(Image.fromarray(photo()), "PNG"),
    saved(Image.fromarray(photo()), "JPEG", exif=b"Exif\0\0" + exif(6)),
    saved(Image.fromarray(photo()), "JPEG", progressive=True),
    saved(Image.fromarray(photo()).convert("CMYK"), "JPEG"),
    make_png(numbers(16, RGB_ALPHA), 16, RGB_ALPHA),
    make_png(numbers(16, GREY), 16, GREY, extra=chunk(b"tRNS", b"\1\2")),
]


def test_nothing_global_changes_and_threads_agree():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    expected = [read_image(data) for data in WHOLE]
    barrier = threading.Barrier(8)

    def work(_):
        barrier.wait()
        return [read_image(data) for data in WHOLE * 5]

    with ThreadPoolExecutor(8) as pool:
        for images in pool.map(work, range(8)):
            for i, image in enumerate(images):
                assert np.array_equal(image, expected[i % len(WHOLE)])
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_pillows_own_limit_plays_no_part(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(saved(Image.fromarray(photo()), "PNG")).shape == (24, 36, 3)


# ---- label and instance maps ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "color_type"),
    [(d, GREY) for d in (1, 2, 4, 8, 16)] + [(d, PALETTE) for d in (1, 2, 4, 8)],
)
def test_stored_numbers_come_out_as_they_are(tmp_path, depth, color_type):
    values = numbers(depth, color_type)
    extra = chunk(b"PLTE", bytes(3 * 2**depth)) if color_type == PALETTE else b""
    path = tmp_path / "labels.png"
    path.write_bytes(make_png(values, depth, color_type, extra=extra))
    read = read_values(path)
    assert read.dtype == (np.uint16 if depth == 16 else np.uint8)
    assert np.array_equal(read, values[..., 0])


def test_label_map_maps_the_ignore_value(tmp_path):
    path = tmp_path / "labels.png"
    write_png(path, np.array([[0, 10, 11], [255, 3, 11]], np.uint8))
    labels = read_label_map(path, num_classes=11, source_ignore=11)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 10, 255], [255, 3, 255]]
    write_png(path, np.array([[0, 1000], [1, 255]], np.uint16))
    labels = read_label_map(path, num_classes=2, source_ignore=1000)
    assert labels.tolist() == [[0, 255], [1, 255]]


def test_label_outside_the_classes(tmp_path):
    path = tmp_path / "labels.png"
    write_png(path, np.array([[0, 10, 11], [77, 77, 12], [12, 255, 77]], np.uint8))
    with pytest.raises(
        GstoVizError, match=r"labels\.png holds label 11 \(1 pixel\), 12 \(2 pixels"
    ):
        read_label_map(path, num_classes=11)
    with pytest.raises(GstoVizError, match=r"77 \(3 pixels\), outside the classes 0 to 10"):
        read_label_map(path, num_classes=11, source_ignore=11)
    write_png(path, np.arange(20, dtype=np.uint8).reshape(4, 5))
    with pytest.raises(GstoVizError, match=r"and 6 more values, outside"):
        read_label_map(path, num_classes=11)
    write_png(path, np.array([[256]], np.uint16))  # would be class 0 if cut to 8 bits
    with pytest.raises(GstoVizError, match=r"label 256 \(1 pixel\)"):
        read_label_map(path, num_classes=11)


@pytest.mark.parametrize(("depth", "color_type"), [(8, RGB), (16, RGB), (8, RGB_ALPHA), (8, 4)])
def test_label_map_in_colour_is_refused(tmp_path, depth, color_type):
    path = tmp_path / "labels.png"
    path.write_bytes(make_png(numbers(depth, color_type), depth, color_type))
    for read in (read_values, read_instance_map, lambda p: read_label_map(p, num_classes=9)):
        with pytest.raises(GstoVizError, match=r"labels\.png is in colour, but a label map"):
            read(path)


def test_label_map_as_jpeg_is_refused(tmp_path):
    path = tmp_path / "labels.png"
    path.write_bytes(saved(Image.fromarray(photo()[..., 0]), "JPEG"))
    with pytest.raises(GstoVizError, match="is a JPEG, and JPEG changes the values"):
        read_label_map(path, num_classes=11)


def test_damaged_files_are_told_from_wrong_content(tmp_path):
    """A damaged image or map is unreadable; a readable map with wrong labels is not."""
    good = tmp_path / "good.png"
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(good)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(good.read_bytes()[:-20])
    for read in (read_image, read_values):
        for path in (damaged, tmp_path / "missing.png"):
            with pytest.raises(UnreadableImageError):
                read(path)
    with pytest.raises(GstoVizError, match="label 9") as wrong:
        read_label_map(good, num_classes=3)
    assert not isinstance(wrong.value, UnreadableImageError)


def test_instances_round_trip(tmp_path):
    instances = np.array([[0, 1, 65535], [300, 0, 2]], np.int32)
    path = tmp_path / "new" / "instances.png"
    write_png(path, encode_instances(instances))
    read = read_instance_map(path)
    assert read.dtype == np.int32
    assert np.array_equal(read, instances)
    write_png(path, np.array([[0, 7]], np.uint8))
    assert read_instance_map(path).tolist() == [[0, 7]]


@pytest.mark.parametrize("worst", [-1, 65536])
def test_instances_that_do_not_fit(worst):
    with pytest.raises(GstoVizError, match=str(worst)):
        encode_instances(np.array([[0, worst]], np.int32))


@pytest.mark.parametrize(
    "array", [photo(), photo()[..., 0], photo()[::-1, ::2], photo().astype(np.uint16)[..., 1] * 200]
)
def test_written_png_as_pillow_reads_it(tmp_path, array):
    path = tmp_path / "image.png"
    write_png(path, array)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), array)
    assert os.listdir(tmp_path) == ["image.png"]  # noqa: PTH208
    first = path.read_bytes()
    write_png(path, array)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.int32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4)),
        np.zeros((4, 4), bool),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_arrays_that_are_no_image_are_refused_before_writing(tmp_path, array):
    with pytest.raises(GstoVizError, match="is not an image"):
        write_png(tmp_path / "image.png", array)
    assert not list(tmp_path.iterdir())


def test_write_where_nothing_can_be_written(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "image.png").mkdir()  # a folder stands where the file shall go
    with pytest.raises(GstoVizError, match="cannot write"):
        write_png(folder / "image.png", photo())
    assert [p.name for p in folder.iterdir()] == ["image.png"]
    assert stat.S_ISDIR((folder / "image.png").stat().st_mode)
