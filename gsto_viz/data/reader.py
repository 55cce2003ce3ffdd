"""The one safe image reader, and the writer of label, instance and colour PNGs.

Every image that a user names or uploads is read here. Uploads are PNG or JPEG; files on disk may
be WebP, TIFF, BMP, GIF, PPM and PGM, too (of several pictures in a file the first is read). The
size is known before memory is taken; what is wrong with a file is said in one sentence. No global
setting of Pillow is read or changed, so all functions may be called from many threads.

Conventions: EXIF rotation is applied. Transparency is laid over white, as on a page. Colour
profiles are not applied: values are taken as sRGB. Of an animated PNG the still picture is read.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsto_viz.data.image_file import (
    GREY,
    PALETTE,
    PLUG_INS,
    Jpeg,
    Numbers,
    Other,
    Png,
    check_file,
    upright,
)
from gsto_viz.errors import GstoVizError, UnreadableImageError
from gsto_viz.files import atomic_path

MAX_PIXELS = 64_000_000
"""Images with more pixels are refused unless the caller asks for more."""

MAX_SIDE_PX = 1_000_000
"""No decoder reads a longer row or column."""

MAX_BYTES = 256 * 2**20
"""Files with more bytes are refused unless the caller asks for more."""

UPLOADS = ("PNG", "JPEG")
"""Formats of images from elsewhere."""

FORMATS = (*UPLOADS, *PLUG_INS)
"""Formats of files on disk."""


def read_image(
    source: str | Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    formats: tuple[str, ...] | None = None,
    name: str | None = None,
) -> npt.NDArray[np.uint8]:
    """Read an image as sRGB, upright and opaque.

    Grey, palette, 1-bit and CMYK images become RGB; 16-bit values v become round(v / 257);
    transparency is laid over white.

    Args:
        source: Path of a regular file, or the content of one (an upload).
        max_pixels: Largest width * height, checked before decoding.
        max_bytes: Largest file size, checked before reading.
        formats: Which of ``FORMATS`` are welcome; None: all of a file, PNG and JPEG as bytes.
        name: What to call the image in messages; by default its path or "the uploaded image".

    Returns:
        (H, W, 3) uint8 sRGB, writable, C-contiguous.

    Raises:
        UnreadableImageError: Missing, not a regular file, empty, of another format (whatever its
            suffix says), truncated, damaged, or larger than allowed.
    """
    with _unreadable():
        welcome = formats or (UPLOADS if isinstance(source, bytes) else FORMATS)
        image = _open(source, max_pixels, max_bytes, welcome, name)
        return upright(image.rgb(), image.orientation)


class Header(NamedTuple):
    """What is known of an image without decoding it.

    Attributes:
        size: (height, width) as it is seen.
        orientation: EXIF orientation 1..8; all but 1 turn or mirror it.
        may_vanish: Whether it has 16 bits or transparency, see :func:`looks_empty`.
    """

    size: tuple[int, int]
    orientation: int
    may_vanish: bool


def read_header(path: str | Path) -> Header:
    """Return what the head of an image file says.

    Raises:
        UnreadableImageError: As for ``read_image``, but for damaged pixels.
    """
    with _unreadable():
        image = _open(path, MAX_PIXELS, MAX_BYTES, FORMATS, None)
    width, height = image.size if image.orientation < 5 else image.size[::-1]
    said = image.said if isinstance(image, Other) else image.orientation
    return Header((height, width), said, image.may_vanish)


FAINT = 16
"""What the highest value of 12 bits becomes where it is stored in 16: 255 * 4095 / 65535."""


def looks_empty(path: str | Path) -> bool:
    """Return whether an image comes out all but black or all white.

    Values of 8 or 12 bits in a file of 16 are nearly black, and what is transparent all over is
    white. Errors as for ``read_image``.
    """
    picture = read_image(path)
    return bool(picture.max() <= FAINT or picture.min() == 255)


def read_values(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> Numbers:
    """Read the stored numbers of a one-channel image: no scaling, no colours.

    Grey values of any bit depth and palette indices come out as they are in the file.

    Args:
        path: A PNG, TIFF, BMP or GIF with one channel.
        max_pixels: Largest width * height.
        max_bytes: Largest file size.

    Returns:
        (H, W) uint8, or uint16 for an image of 16 bits.

    Raises:
        UnreadableImageError: As for ``read_image``.
        GstoVizError: A format that may change numbers, or an image in colour.
    """
    return read_numbers(path, max_pixels=max_pixels, max_bytes=max_bytes)[0]


def read_numbers(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> tuple[Numbers, npt.NDArray[np.uint8] | None]:
    """Read the stored numbers of an image and its palette: (n, 3) sRGB, None where it has none.

    Arguments and errors as for ``read_values``.
    """
    with _unreadable():
        image = _open(path, max_pixels, max_bytes, FORMATS, None)
    if isinstance(image, Jpeg):
        raise GstoVizError(
            f"{path} is a JPEG, and JPEG changes the values of label maps; save them as PNG"
        )
    if isinstance(image, Other):
        return upright(image.numbers(), image.orientation), image.palette
    if image.color_type not in (GREY, PALETTE):
        raise GstoVizError(
            f"{path} is in colour, but a label map holds one number per pixel; "
            "convert its colours to class numbers and save a one-channel PNG"
        )
    palette = np.frombuffer(image.palette, np.uint8).reshape(-1, 3)
    with _unreadable():
        numbers = upright(image.numbers()[..., 0], image.orientation)
    return numbers, palette if image.color_type == PALETTE else None


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
            f"cannot write {path}: an array {shape} of {kind} is not an image; give (H, W) uint8 "
            "or uint16, or (H, W, 3) uint8"
        )
    image = Image.fromarray(np.ascontiguousarray(array))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


@contextmanager
def _unreadable() -> Iterator[None]:
    """Mark errors of the block as those of an unreadable file, not of wrong content."""
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
) -> Png | Jpeg | Other:
    """Read a file, check its structure, and hold the limits."""
    if isinstance(source, bytes):
        name = name or "the uploaded image"
        _check_bytes(len(source), max_bytes, name)
    else:
        name = name or str(source)
        source = _read_bytes(source, max_bytes, name)
    image = check_file(source, name, formats)
    if image.format not in formats:
        raise GstoVizError(f"{name} is a {image.format} image; save it as {' or '.join(formats)}")
    width, height = image.size
    if width * height > max_pixels:
        raise GstoVizError(
            f"{name} is {width} x {height} pixels, more than the "
            f"{max_pixels / 1e6:g} million allowed; make it smaller"
        )
    if max(image.size) > MAX_SIDE_PX:
        raise GstoVizError(f"{name} is {width} x {height} pixels, too long to decode; cut it")
    return image


def _check_bytes(size: int, max_bytes: int, name: str) -> None:
    if size > max_bytes:
        raise GstoVizError(
            f"{name} has {size / 2**20:.1f} MiB, more than the {max_bytes / 2**20:.3g} MiB "
            "allowed; make it smaller"
        )


def _read_bytes(path: str | Path, max_bytes: int, name: str) -> bytes:
    """Read a regular file of bounded size; never wait for a pipe or a device."""
    if "\0" in str(path):
        raise GstoVizError(f"{name!r} is not a path (it holds a zero byte); check it")
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
