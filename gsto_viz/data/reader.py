"""The one safe image reader, and the writer of label, instance and colour PNGs.

Every image that a user names or uploads is read here. Nothing but PNG and JPEG is accepted; the
size is known before memory is taken; what is wrong with a file is said in one sentence. No global
setting of Pillow is read or changed, so all functions may be called from many threads.

Conventions: EXIF rotation is applied. Transparency is laid over white, as on a page. Colour
profiles are not applied: values are taken as sRGB. Of an animated PNG the still picture is read.
"""

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from gsto_viz.data.formats import GREY, PALETTE, RGB, Header, check_pixels, read_header
from gsto_viz.errors import GstoVizError, UnreadableImageError
from gsto_viz.files import atomic_path
from gsto_viz.types import IGNORE

_Value = TypeVar("_Value", np.uint8, np.uint16)


def decode_rgb(header: Header, name: str) -> npt.NDArray[np.uint8]:
    """Decode to sRGB, upright and opaque.

    Args:
        header: The image, checked and cleaned.
        name: What to call it in messages.

    Returns:
        (H, W, 3) uint8.

    Raises:
        GstoVizError: The pixels are truncated or damaged.
    """
    if header.depth == 16:
        deep = _decode_16bit(header, name)
        opaque = _opaque(header, deep)
        # (v + 128) // 257 is round(v / 257), without leaving 32-bit integers.
        pixels = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
    else:
        pixels = _decode_8bit(header, name)
        opaque = _opaque(header, pixels)
    if pixels.shape[2] == 4:
        pixels = _over_white(pixels)
    if opaque is not None:
        pixels[~opaque] = 255
    return _upright(pixels, header.orientation)


def decode_values(header: Header, name: str) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decode the stored numbers of a one-channel PNG (grey or palette indices), upright.

    Returns:
        (H, W) uint8, or uint16 for a 16-bit PNG.

    Raises:
        GstoVizError: The pixels are truncated or damaged.
    """
    if header.depth == 16:
        return _upright(_decode_16bit(header, name)[..., 0], header.orientation)
    quick = _quick(header, np.uint8) if _is_plain(header, GREY) else None
    values = np.array(_load(header, name)).astype(np.uint8) if quick is None else quick
    if header.color_type == GREY and header.depth in (2, 4):
        # Pillow stretches 2- and 4-bit grey to 0..255; labels need the numbers themselves.
        values //= _stretch(header)
    return _upright(values, header.orientation)


def _decode_8bit(header: Header, name: str) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) RGB or (H, W, 4) RGBA of an image with at most 8 bits per channel."""
    quick = _quick(header, np.uint8) if _is_plain(header, RGB) else None
    if quick is not None:
        return np.asarray(cv2.cvtColor(quick, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    image = _load(header, name)
    mode = "RGBA" if image.mode in ("P", "LA", "RGBA") else "RGB"
    return np.array(image if image.mode == mode else image.convert(mode))


def _is_plain(header: Header, color_type: int) -> bool:
    """Whether a file is an 8-bit PNG of this colour type, which all decoders read alike."""
    return header.color_type == color_type and header.depth == 8


def _quick(header: Header, dtype: type[_Value]) -> npt.NDArray[_Value] | None:
    """Decode a PNG with OpenCV, in its order of channels (BGR); None when it will not.

    It inflates once and takes little more than half the time of ``_load``, but does not say what is
    wrong with a file: that is left to ``_load``. Both refuse a file with too few pixels.
    """
    try:
        raw = cv2.imdecode(np.frombuffer(header.data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # for example a side beyond OpenCV's own limits
        return None
    if raw is None or raw.dtype != dtype or raw.shape[:2] != (header.height, header.width):
        return None
    return np.asarray(raw, dtype=dtype)


def _load(header: Header, name: str) -> Image.Image:
    """Decode the cleaned file with Pillow; its own size check (a global setting) is not used."""
    if header.format == "PNG":
        check_pixels(header, name)
    plugin = PngImageFile if header.format == "PNG" else JpegImageFile
    try:
        image = plugin(io.BytesIO(header.data))
        if image.size == (header.width, header.height):
            image.load()
            return image
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise GstoVizError(
            f"{name} is truncated or damaged ({reason}); copy or save it again"
        ) from error
    raise GstoVizError(f"{name} is damaged (it states two sizes); copy or save it again")


def _stretch(header: Header) -> int:
    """Return the factor that takes a grey value of less than 8 bits to 0..255."""
    return 255 // (2**header.depth - 1)


def _decode_16bit(header: Header, name: str) -> npt.NDArray[np.uint16]:
    """Return (H, W, 1), (H, W, 3) or (H, W, 4) uint16 in the order grey, RGB or RGBA.

    OpenCV keeps all 16 bits of colour PNGs, Pillow does not.
    """
    decoded = _quick(header, np.uint16)
    if decoded is None:
        _load(header, name)  # says what is wrong with a damaged file
        raise GstoVizError(f"{name} cannot be decoded as a 16-bit PNG; save it with 8 bits")
    if decoded.ndim == 2:
        return decoded[..., None]
    order = [2, 1, 0, 3][: decoded.shape[2]]  # OpenCV gives BGR(A)
    return decoded[..., order]


def _opaque(header: Header, pixels: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return where (H, W) pixels are not of the one colour that PNG's tRNS chunk calls transparent.

    Args:
        header: Holds the colour as one (grey) or three big-endian 16-bit numbers, if there is one.
        pixels: (H, W, C) as stored, or stretched to 0..255 when stored with fewer than 8 bits.
    """
    if header.transparency is None:
        return None
    count = 1 if header.color_type == GREY else 3
    key = np.frombuffer(header.transparency[: 2 * count].ljust(2 * count, b"\0"), ">u2")
    # Only as many low bits count as a pixel has.
    key = key.astype(np.int64) & (2**header.depth - 1)
    if header.depth < 8:
        key = key * _stretch(header)
    return (pixels[..., :count] != key).any(axis=2)


def _over_white(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lay (H, W, 4) over white; returns (H, W, 3), rounded to nearest."""
    alpha = rgba[..., 3:].astype(np.uint16)
    # At most 255 * 255 + 127, which uint16 holds.
    mixed = rgba[..., :3] * alpha + 255 * (255 - alpha) + 127
    return (mixed // 255).astype(np.uint8)


def _upright(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo the camera's rotation (EXIF 2.3: where row 0 and column 0 of the file belong)."""
    if orientation >= 5:  # rows of the file are columns of the picture
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


MAX_PIXELS = 64_000_000
"""Images with more pixels are refused unless the caller asks for more."""

MAX_BYTES = 256 * 2**20
"""Files with more bytes are refused unless the caller asks for more."""

FORMATS = ("PNG", "JPEG")


def read_image(
    source: str | Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    formats: tuple[str, ...] = FORMATS,
    name: str | None = None,
) -> npt.NDArray[np.uint8]:
    """Read a PNG or JPEG as sRGB, upright and opaque.

    Grey, palette, 1-bit and CMYK images become RGB; 16-bit values v become round(v / 257);
    transparency is laid over white.

    Args:
        source: Path of a regular file, or the content of one (an upload).
        max_pixels: Largest width * height, checked before decoding.
        max_bytes: Largest file size, checked before reading.
        formats: Which of ``PNG`` and ``JPEG`` are welcome.
        name: What to call the image in messages; by default its path or "the uploaded image".

    Returns:
        (H, W, 3) uint8 sRGB, writable, C-contiguous.

    Raises:
        UnreadableImageError: Missing, no regular file, empty, no PNG or JPEG (whatever its suffix
            says), truncated, damaged, or larger than allowed.
    """
    with _unreadable():
        header, name = _open(source, max_pixels, max_bytes, formats, name)
        return decode_rgb(header, name)


def read_values(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Read the stored numbers of a one-channel PNG: no scaling, no colours.

    Grey values of any bit depth and palette indices come out as they are in the file.

    Args:
        path: A PNG with one channel.
        max_pixels: Largest width * height.
        max_bytes: Largest file size.

    Returns:
        (H, W) uint8, or uint16 for a 16-bit PNG.

    Raises:
        UnreadableImageError: As for ``read_image``.
        GstoVizError: A JPEG, or an image in colour.
    """
    with _unreadable():
        header, name = _open(path, max_pixels, max_bytes, FORMATS, None)
    if header.format == "JPEG":
        raise GstoVizError(
            f"{name} is a JPEG, and JPEG changes the values of label maps; save them as PNG"
        )
    if header.color_type not in (GREY, PALETTE):
        raise GstoVizError(
            f"{name} is in colour, but a label map holds one number per pixel; "
            "convert its colours to class numbers and save a one-channel PNG"
        )
    with _unreadable():
        return decode_values(header, name)


def read_label_map(
    path: str | Path, *, num_classes: int, source_ignore: int | None = None
) -> npt.NDArray[np.uint8]:
    """Read a label map and check that every pixel belongs to a class or is ignored.

    Args:
        path: A PNG with one channel: grey or palette indices (not their colours), up to 16 bits.
        num_classes: K; labels are 0..K-1. At most 255.
        source_ignore: The data set's own "no class" value, mapped to 255; 255 itself always is.

    Returns:
        (H, W) uint8, 0..K-1 or 255 (ignore).

    Raises:
        GstoVizError: As for ``read_values``; also for a value that is no class: the message names
            the file, the values and how many pixels hold them.
    """
    table = label_table(range(num_classes), source_ignore)
    return read_mapped_labels(path, table, f"the classes 0 to {num_classes - 1}")


def label_table(values: Sequence[int], *ignored: int | None) -> npt.NDArray[np.int16]:
    """Make the table that turns stored numbers into labels.

    Args:
        values: The stored number of each class, in class order.
        ignored: Stored numbers of pixels that belong to no class; 255 always is one, unless it is
            that of a class. None is passed over.

    Returns:
        (65536,) int16: class index, 255 (ignore), or -1 for a number that must not occur.
    """
    table = np.full(2**16, -1, dtype=np.int16)
    table[[IGNORE, *(v for v in ignored if v is not None)]] = IGNORE
    table[np.asarray(values, dtype=np.int64)] = np.arange(len(values))
    return table


def read_mapped_labels(
    path: str | Path, table: npt.NDArray[np.int16], expected: str
) -> npt.NDArray[np.uint8]:
    """Read a label map and turn its numbers into class indices.

    Args:
        path: A PNG with one channel, as for ``read_label_map``.
        table: (65536,) as made by ``label_table``.
        expected: What the numbers must be in, for messages: ``the classes 0 to 18``.

    Returns:
        (H, W) uint8, 0..K-1 or 255 (ignore).

    Raises:
        GstoVizError: As for ``read_label_map``.
    """
    values = read_values(path)
    labels = _look_up(values, table)
    if labels is None:
        raise _stray_labels(path, values, table, expected)
    return labels


def _look_up(
    values: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], table: npt.NDArray[np.int16]
) -> npt.NDArray[np.uint8] | None:
    """Return the labels of stored numbers; None when one is among them that must not occur."""
    if values.dtype == np.uint16:
        labels = table[values]
        return None if (labels < 0).any() else labels.astype(np.uint8)
    # The same for 8 bits, several times faster.
    stray = (table[:256] < 0).astype(np.uint8)
    if stray.any() and cv2.countNonZero(cv2.LUT(values, stray)):
        return None
    return np.asarray(cv2.LUT(values, table[:256].astype(np.uint8)), dtype=np.uint8)


def _stray_labels(
    path: str | Path, values: npt.NDArray[Any], table: npt.NDArray[np.int16], expected: str
) -> GstoVizError:
    """Name the numbers that must not occur, and how many pixels hold them."""
    found, counts = np.unique(values[table[values] < 0], return_counts=True)
    listed = ", ".join(
        f"{value} ({count} pixel{'s' if count > 1 else ''})"
        for value, count in zip(found[:3], counts[:3], strict=True)
    )
    more = f" and {len(found) - 3} more values" if len(found) > 3 else ""
    return GstoVizError(
        f"{path} holds label {listed}{more}, outside {expected}; "
        "correct the file or use the class list it was made with"
    )


def read_instance_map(path: str | Path) -> npt.NDArray[np.int32]:
    """Read an instance map: (H, W) int32, 0 = no instance, k > 0 = instance k.

    Args:
        path: A PNG with one channel, up to 16 bits.

    Raises:
        GstoVizError: As for ``read_values``.
    """
    return read_values(path).astype(np.int32)


def encode_instances(instances: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Turn an instance map into what a 16-bit PNG holds.

    Args:
        instances: (H, W) integers, 0 = no instance, k > 0 = instance k, at most 65535.

    Raises:
        GstoVizError: The map holds a number outside 0..65535.
    """
    if instances.size and (instances.min() < 0 or instances.max() > 65535):
        raise GstoVizError(
            f"instance numbers from {instances.min()} to {instances.max()} do not fit a 16-bit "
            "PNG; number the instances of an image from 1 to 65535 (0 = none)"
        )
    return instances.astype(np.uint16)


def write_png(path: str | Path, array: npt.NDArray[Any]) -> None:
    """Write a PNG, whole or not at all.

    Args:
        path: Where; its folder is made if it is missing.
        array: (H, W) uint8 (labels, grey), (H, W) uint16 (instances, see ``encode_instances``)
            or (H, W, 3) uint8 sRGB.

    Raises:
        GstoVizError: Another shape or type, or the operating system refused the write.
    """
    shape, kind = array.shape, array.dtype
    gray = len(shape) == 2 and kind in (np.dtype(np.uint8), np.dtype(np.uint16))
    color = len(shape) == 3 and shape[2] == 3 and kind == np.uint8
    if not (gray or color) or 0 in shape:
        raise GstoVizError(
            f"cannot write {path}: an array {shape} of {kind} is no image; give (H, W) uint8 or "
            "uint16, or (H, W, 3) uint8"
        )
    image = Image.fromarray(np.ascontiguousarray(array))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


@contextmanager
def _unreadable() -> Iterator[None]:
    """Tell a file that cannot be read or decoded from one that holds the wrong thing."""
    try:
        yield
    except GstoVizError as error:
        raise UnreadableImageError(str(error)) from error


def _open(
    source: str | Path | bytes,
    max_pixels: int,
    max_bytes: int,
    formats: tuple[str, ...],
    name: str | None,
) -> tuple[Header, str]:
    """Read the file and its header, and hold the limits; return also its name for messages."""
    if isinstance(source, bytes):
        name = name or "the uploaded image"
        _check_bytes(len(source), max_bytes, name)
        header = read_header(source, name)
    else:
        name = name or str(source)
        header = read_header(_read_bytes(source, max_bytes, name), name)
    if header.format not in formats:
        raise GstoVizError(f"{name} is a {header.format} image; save it as {' or '.join(formats)}")
    if header.width * header.height > max_pixels:
        raise GstoVizError(
            f"{name} is {header.width} x {header.height} pixels, more than the "
            f"{max_pixels / 1e6:g} million allowed; make it smaller"
        )
    return header, name


def _check_bytes(size: int, max_bytes: int, name: str) -> None:
    if size > max_bytes:
        raise GstoVizError(
            f"{name} has {size / 2**20:.1f} MiB, more than the {max_bytes / 2**20:.3g} MiB "
            "allowed; make it smaller"
        )


def _read_bytes(path: str | Path, max_bytes: int, name: str) -> bytes:
    """Read a regular file of bounded size; never wait for a pipe or a device."""
    if "\0" in str(path):
        raise GstoVizError(f"{name!r} is no path (it holds a zero byte); check it")
    try:
        # Look before opening: opening some devices has effects. Look again after: it may change.
        _check_regular(Path(path).stat().st_mode, name)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            _check_regular(status.st_mode, name)
            _check_bytes(status.st_size, max_bytes, name)
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise GstoVizError(f"{name} does not exist; check the path") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(
            f"cannot read {name}: {reason}; check the path and its rights"
        ) from error
    _check_bytes(len(data), max_bytes, name)
    return data


def _check_regular(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise GstoVizError(f"{name} is a folder, not an image; name a file in it")
    if not stat.S_ISREG(mode):
        raise GstoVizError(f"{name} is a pipe, socket or device, not a file; name an image file")
