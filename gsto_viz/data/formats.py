"""What a PNG or JPEG file says about itself, read by hand before any decoder sees the file.

The decoder later gets a cleaned copy: the pixels and what is needed to decode them, no metadata.
So the size is known before memory is taken, compressed text or broken EXIF can do no harm and cause
no warnings, and nothing depends on Pillow's global settings.

Sources: PNG specification (W3C, third edition) for chunks; ITU-T T.81 Annex B for JPEG markers;
TIFF 6.0 section 2 and EXIF 2.3 for the orientation tag.
"""

import struct
import zlib
from dataclasses import dataclass

from gsto_viz.errors import GstoVizError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""PNG colour types."""

_DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8)),
    *((2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""The passes of an interlaced PNG: first column, first row, column step, row step."""
_PIECE = 2**20
_MAX_SCANS = 100
"""Ordinary progressive JPEGs have about ten; thousands of tiny ones keep a decoder busy."""

_OTHER_FORMATS = (
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"BM", "BMP"),
    (b"RIFF", "WebP"),
    (b"%PDF", "PDF"),
    (b"\x00\x00\x00\x0cjP", "JPEG 2000"),
    (b"\x93NUMPY", "NumPy"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
)


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded.

    Attributes:
        format: ``PNG`` or ``JPEG``.
        width: Pixels, at least 1.
        height: Pixels, at least 1.
        depth: Bits per channel (JPEG: 8).
        color_type: PNG colour type; None for JPEG.
        orientation: EXIF orientation 1..8, 1 when the file does not say.
        interlaced: Whether a PNG is stored in seven passes.
        transparency: The transparent colour of a grey or RGB PNG (its tRNS chunk), or None.
        data: The file without metadata, to be given to a decoder.
    """

    format: str
    width: int
    height: int
    depth: int
    color_type: int | None
    orientation: int
    interlaced: bool
    transparency: bytes | None
    data: bytes


def read_header(data: bytes, name: str) -> Header:
    """Tell PNG from JPEG by content (not by suffix), check the structure, and clean the file.

    Args:
        data: The whole file.
        name: What to call it in messages.

    Raises:
        GstoVizError: Empty, neither PNG nor JPEG, truncated or damaged.
    """
    if not data:
        raise GstoVizError(f"{name} is empty (0 bytes); copy or write it again")
    if data.startswith(PNG_SIGNATURE):
        return _read_png(data, name)
    if data.startswith(JPEG_SIGNATURE):
        return _read_jpeg(data, name)
    raise GstoVizError(f"{name} is {_describe(data)}, not a PNG or JPEG image; save it as one")


def _describe(data: bytes) -> str:
    """Say in a few words what a file that is no PNG or JPEG seems to be."""
    for signature, kind in _OTHER_FORMATS:
        if data.startswith(signature):
            return f"a {kind} file"
    if data[4:8] == b"ftyp":
        return "an AVIF, HEIC or video file"
    head = data[:512]
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "a text file"
    return "a file of unknown kind"


def _truncated(name: str) -> GstoVizError:
    return GstoVizError(f"{name} is truncated (the file ends too early); copy it again")


def _damaged(name: str, what: str) -> GstoVizError:
    return GstoVizError(f"{name} is damaged ({what}); copy or save it again")


def _read_png(data: bytes, name: str) -> Header:
    """Walk the chunks; keep IHDR, PLTE, IDAT, IEND and a palette's transparency."""
    view = memoryview(data)
    chunks: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    position = len(PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise _truncated(name)
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _truncated(name)
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            (crc,) = struct.unpack_from(">I", data, end - 4)
            if zlib.crc32(view[position + 4 : end - 4]) != crc:
                raise _damaged(name, f"the checksum of its {kind.decode()} part does not match")
        if not chunks and kind != b"IHDR":
            raise _damaged(name, "it does not begin with a PNG header")
        if kind == b"IDAT":
            pixels.append(view[position:end])
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf"):
            # Of repeated chunks the first one counts.
            chunks.setdefault(kind, data[position:end])
        position = end
    return _png_header(chunks, pixels, name)


def _png_header(chunks: dict[bytes, bytes], pixels: list[memoryview], name: str) -> Header:
    """Check IHDR and join the kept chunks (each one still with length, kind and checksum)."""
    if len(chunks[b"IHDR"]) != 25:
        raise _damaged(name, "its PNG header has a wrong length")
    width, height, depth, color_type = struct.unpack_from(">IIBB", chunks[b"IHDR"], 8)
    if width == 0 or height == 0:
        raise _damaged(name, f"its size is {width} x {height} pixels")
    if depth not in _DEPTHS.get(color_type, ()):
        raise _damaged(name, f"{depth}-bit pixels of PNG colour type {color_type} do not exist")
    if not pixels:
        raise _damaged(name, "it holds no pixels")
    if color_type == PALETTE and b"PLTE" not in chunks:
        raise _damaged(name, "its palette is missing")
    kept = [b"IHDR"]
    if color_type == PALETTE:
        kept += [kind for kind in (b"PLTE", b"tRNS") if kind in chunks]
    keyed = color_type in (GREY, RGB) and b"tRNS" in chunks
    end = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    return Header(
        format="PNG",
        width=width,
        height=height,
        depth=depth,
        color_type=color_type,
        orientation=_orientation(chunks.get(b"eXIf", b"")[8:-4]),
        interlaced=chunks[b"IHDR"][20] == 1,
        transparency=chunks[b"tRNS"][8:-4] if keyed else None,
        data=b"".join([PNG_SIGNATURE, *(chunks[kind] for kind in kept), *pixels, end]),
    )


def check_pixels(header: Header, name: str) -> None:
    """Refuse a PNG whose pixel data, unpacked, is shorter than its size asks for.

    Decoders leave the missing rows black without a word. The data is unpacked in small pieces and
    never beyond what the size asks for. (A cut JPEG has lost its end marker, see ``_read_jpeg``.)

    Raises:
        GstoVizError: Pixels are missing, or the packed data is damaged.
    """
    missing = _raw_bytes(header)
    unpack = zlib.decompressobj()
    position = len(PNG_SIGNATURE)
    while missing > 0 and position < len(header.data) and not unpack.eof:
        length, kind = struct.unpack_from(">I4s", header.data, position)
        rest = header.data[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        position += 12 + length
        while rest and missing > 0 and not unpack.eof:
            try:
                missing -= len(unpack.decompress(rest, _PIECE))
            except zlib.error as error:
                raise _damaged(name, "its pixels cannot be unpacked") from error
            rest = unpack.unconsumed_tail
    if missing > 0:
        raise _truncated(name)


def _raw_bytes(header: Header) -> int:
    """Return how many bytes the unpacked pixels of a PNG have, with one filter byte per row."""
    bits = header.depth * _CHANNELS[header.color_type or 0]
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    total = 0
    for x, y, step_x, step_y in passes:
        columns = max(0, -(-(header.width - x) // step_x))
        rows = max(0, -(-(header.height - y) // step_y))
        if columns:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _read_jpeg(data: bytes, name: str) -> Header:
    """Walk the segments up to the first scan; keep all but comments and application data."""
    kept = [data[:2]]
    size: tuple[int, int] | None = None
    orientation = 1
    position, marker = 2, 0
    while marker != 0xDA:  # SOS, start of scan
        marker, position, end = _jpeg_segment(data, position, name)
        payload = data[position + 2 : end]
        if _is_frame(marker):
            if size is not None or len(payload) < 6:
                raise _damaged(name, "its JPEG header is wrong")
            height, width = struct.unpack_from(">HH", payload, 1)
            size = (width, height)
        if marker == 0xE1 and payload.startswith(b"Exif\x00\x00"):
            orientation = _orientation(payload[6:])
        if not _is_metadata(marker, payload):
            kept.append(bytes((0xFF, marker)) + data[position:end])
        position = end
    if size is None or 0 in size:
        raise _damaged(name, "it does not state its size")
    if data.count(b"\xff\xda", position) > _MAX_SCANS:
        raise _damaged(name, f"it has more than {_MAX_SCANS} scans")
    # Pixel data never holds these two bytes, so without them the end of the picture is missing.
    if data.rfind(b"\xff\xd9", position) < 0:
        raise _truncated(name)
    kept.append(data[position:])
    return Header("JPEG", size[0], size[1], 8, None, orientation, False, None, b"".join(kept))


def _jpeg_segment(data: bytes, position: int, name: str) -> tuple[int, int, int]:
    """Return marker, start (at its length field) and end of the segment at ``position``."""
    if position < len(data) and data[position] != 0xFF:
        raise _damaged(name, "its JPEG segments do not follow each other")
    while position < len(data) and data[position] == 0xFF:  # any number of fill bytes
        position += 1
    if position + 3 > len(data):
        raise _truncated(name)
    marker = data[position]
    (length,) = struct.unpack_from(">H", data, position + 1)
    end = position + 1 + length
    if marker == 0 or marker == 1 or 0xD0 <= marker <= 0xD9 or length < 2:
        raise _damaged(name, "its JPEG segments do not follow each other")
    if end > len(data):
        raise _truncated(name)
    return marker, position + 1, end


def _is_frame(marker: int) -> bool:
    """Whether a marker is one of SOF0..SOF15, which state the size."""
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def _is_metadata(marker: int, payload: bytes) -> bool:
    """Whether a segment can go: APPn and COM, but for JFIF and Adobe, which tell the colours."""
    if marker == 0xE0 and payload.startswith(b"JFIF\x00"):
        return len(payload) < 14
    if marker == 0xEE and payload.startswith(b"Adobe"):
        return len(payload) < 12
    return 0xE0 <= marker <= 0xEF or marker == 0xFE


def _orientation(exif: bytes) -> int:
    """Find tag 0x0112 in the first directory of an EXIF block; 1 when absent or unreadable."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == 0x0112 and kind == 3:
                (value,) = struct.unpack_from(order + "H", exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:  # the directory points outside the block
        return 1
    return 1
