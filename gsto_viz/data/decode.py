"""From a checked and cleaned PNG or JPEG to an array (see ``reader`` for the conventions)."""

import io
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from gsto_viz.data.formats import GREY, RGB, Header, check_pixels
from gsto_viz.errors import GstoVizError

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
