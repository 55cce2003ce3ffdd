"""Image files as they lie on disk: their structure is checked and cleaned before they are decoded.

The decoder (OpenCV for PNG, Pillow for the others) gets a PNG or JPEG as a cleaned copy: the pixels
and what is needed to decode them, no metadata. So compressed text or broken EXIF can do no harm and
cause no warnings. No global setting of Pillow is read or changed.

Sources: PNG specification (W3C, third edition) for chunks; ITU-T T.81 Annex B for JPEG markers;
TIFF 6.0 section 2 and EXIF 2.3 for the orientation tag.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from gsto_viz.errors import GstoVizError

Numbers = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""PNG colour types."""

_MAX_SCANS = 100
"""Ordinary progressive JPEGs have about ten; thousands of tiny ones keep a decoder busy."""

_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"%PDF": "PDF",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\x93NUMPY": "NumPy",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"version https://git-lfs": "Git LFS pointer (git lfs pull gets the image)",
}


@dataclass(frozen=True)
class Png:
    """A PNG that was checked and cleaned, not yet decoded.

    Attributes:
        name: What to call it in messages.
        size: Width and height in pixels, at least 1.
        orientation: EXIF orientation 1..8, 1 when the file does not say.
        data: The cleaned file. One with a palette is turned into a grey one, so that its indices
            come out: both are stored alike.
        depth: Bits per channel.
        color_type: PNG colour type.
        palette: Content of its PLTE chunk.
        transparency: Content of its tRNS chunk, if there is one: the alpha of palette entries, or
            the transparent colour of a grey or RGB image as big-endian 16-bit numbers.
    """

    name: str
    size: tuple[int, int]
    orientation: int
    data: bytes
    depth: int
    color_type: int
    palette: bytes
    transparency: bytes | None

    format = "PNG"

    @property
    def may_vanish(self) -> bool:
        """Whether it has 16 bits, of which few may be used, or transparency, which may be all."""
        transparent = self.color_type in (GREY_ALPHA, RGB_ALPHA) or self.transparency is not None
        return self.depth == 16 or transparent

    def numbers(self) -> Numbers:
        """Decode the numbers that are stored, (H, W, C) with C grey, RGB or RGBA.

        Raises:
            GstoVizError: The pixels are truncated or damaged.
        """
        try:
            raw: Any = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            raw = None
        if raw is None or raw.shape[1::-1] != self.size:
            raise GstoVizError(
                f"{self.name} is truncated or damaged (its pixels cannot be unpacked); copy or "
                "save it again"
            )
        if raw.ndim == 2:
            if self.depth < 8:  # OpenCV stretches them to 0..255
                raw //= self._stretch
            return raw[..., None]
        return cv2.cvtColor(raw, {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}[raw.shape[2]])

    def rgb(self) -> npt.NDArray[np.uint8]:
        """Decode to (H, W, 3) sRGB, opaque, not turned."""
        numbers = self.numbers()
        if self.color_type == PALETTE:
            pixels = self._colors()[numbers[..., 0]]
        elif self.depth == 16:
            # (v + 128) // 257 is round(v / 257), without leaving 32-bit integers.
            pixels = ((numbers.astype(np.uint32) + 128) // 257).astype(np.uint8)
        else:
            pixels = (numbers * self._stretch if self.depth < 8 else numbers).astype(
                np.uint8, copy=False
            )
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        if pixels.shape[2] == 4:
            pixels = _over_white(pixels)
        if self.transparency is not None and self.color_type in (GREY, RGB):
            pixels[self._is_key(numbers, self.transparency)] = 255
        return pixels

    @property
    def _stretch(self) -> int:
        """The factor that takes a grey value of at most 8 bits to 0..255."""
        return 255 // (2**self.depth - 1)

    def _colors(self) -> npt.NDArray[np.uint8]:
        """Return the palette: (256, 3), or (256, 4) where it has transparent entries."""
        table = np.zeros((256, 4), dtype=np.uint8)
        table[:, 3] = 255
        colors = np.frombuffer(self.palette, np.uint8).reshape(-1, 3)
        table[: len(colors), :3] = colors
        alpha = np.frombuffer((self.transparency or b"")[:256], np.uint8)
        table[: len(alpha), 3] = alpha
        return table if len(alpha) else table[:, :3]

    def _is_key(self, numbers: Numbers, content: bytes) -> npt.NDArray[np.bool_]:
        """Return where (H, W) pixels are of the one colour that the file calls transparent."""
        count = 1 if self.color_type == GREY else 3
        key = np.frombuffer(content[: 2 * count].ljust(2 * count, b"\0"), ">u2")
        # Only as many low bits count as a pixel has.
        same: npt.NDArray[np.bool_] = (numbers == key.astype(np.int64) & (2**self.depth - 1)).all(2)
        return same


@dataclass(frozen=True)
class Jpeg:
    """A JPEG that was checked and cleaned, not yet decoded; see ``Png``."""

    name: str
    size: tuple[int, int]
    orientation: int
    image: JpegImageFile

    format = "JPEG"
    may_vanish = False

    def rgb(self) -> npt.NDArray[np.uint8]:
        """Decode to (H, W, 3) sRGB, not turned.

        Raises:
            GstoVizError: The pixels are damaged.
        """
        try:
            self.image.load()
        except (OSError, SyntaxError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise GstoVizError(
                f"{self.name} is truncated or damaged ({reason}); copy or save it again"
            ) from error
        image = self.image
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


PLUG_INS: dict[str, tuple[type[ImageFile], tuple[bytes, ...]]] = {
    "WebP": (WebPImageFile, (b"RIFF",)),
    "TIFF": (TiffImageFile, (b"II*\x00", b"MM\x00*")),
    "BMP": (BmpImageFile, (b"BM",)),
    "GIF": (GifImageFile, (b"GIF8",)),
    "PPM": (PpmImageFile, (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")),
}
"""By format, the plug-in of Pillow that reads it, and how such files begin."""

_PLUG_IN_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    struct.error,
    Warning,
    Image.DecompressionBombError,
)
"""What plug-ins raise for damaged files."""

_LOSSY = ("tiff_jpeg", "jpeg", "webp", "tiff_sgilog", "tiff_sgilog24")
"""Compressions of TIFF that change values."""

_BITS, _PHOTOMETRIC, _ORIENTATION = 258, 262, 274
"""Tags of TIFF."""


@dataclass(frozen=True)
class Other:
    """An image that a plug-in of Pillow has opened and not yet decoded; see ``Png``.

    Attributes:
        name: What to call it in messages.
        format: One of ``PLUG_INS``.
        image: The plug-in; it turns a TIFF upright by itself.
        orientation: EXIF orientation that is still to be undone.
        said: EXIF orientation that the file names, whether or not the decoder has undone it.
    """

    name: str
    format: str
    image: ImageFile
    orientation: int = 1
    said: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.size

    @property
    def may_vanish(self) -> bool:
        """Whether it has 16 bits or transparency; see ``Png``."""
        image = self.image
        return image.mode.startswith("I") or bool(image.has_transparency_data)

    def rgb(self) -> npt.NDArray[np.uint8]:
        """Decode to (H, W, 3) sRGB, opaque.

        Raises:
            GstoVizError: The pixels are damaged, or numbers that are not colours.
        """
        self._load()
        image = self.image
        if image.mode.startswith("I;16") or (image.mode == "I" and self.format == "PPM"):
            values = np.asarray(image).astype(np.uint32)
            grey = ((values + 128) // 257).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if image.mode in ("F", "I"):
            raise GstoVizError(
                f"{self.name} holds 32-bit numbers, not colours; save it as PNG or JPEG"
            )
        if image.has_transparency_data:
            return _over_white(np.array(image.convert("RGBA")))
        return np.array(image.convert("RGB"))

    def numbers(self) -> Numbers:
        """Decode the numbers that are stored, (H, W).

        Raises:
            GstoVizError: The pixels are damaged, or the file does not keep numbers as they are.
        """
        image = self.image
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
        bits = tags.get(_BITS, (8,))
        inverted = tags.get(_PHOTOMETRIC) == 0
        if self.format in ("WebP", "PPM") or image.info.get("compression") in _LOSSY or inverted:
            raise GstoVizError(
                f"{self.name} is a {self.format} that may change the values of label maps; save "
                "them as PNG"
            )
        self._load()
        if self.format == "GIF":
            return self._grey_levels()
        values = np.asarray(image)
        if image.mode in ("1", "L", "P"):
            values = values.astype(np.uint8)
            if image.mode == "L" and bits[0] < 8:  # Pillow stretches them to 0..255
                values //= 255 // (2 ** bits[0] - 1)
            return values
        if image.mode[0] == "I" and values.min() >= 0 and values.max() <= 65535:
            return values.astype(np.uint16)
        found = ""
        if image.mode[0] in "IF" and np.isfinite(values).all():
            found = f", from {values.min():g} to {values.max():g}"
        raise GstoVizError(
            f"{self.name} has pixels of the kind '{image.mode}'{found}, but a label map holds one "
            "number from 0 to 65535 per pixel; save a one-channel PNG"
        )

    @property
    def palette(self) -> npt.NDArray[np.uint8] | None:
        """Its palette, (n, 3), where the numbers are indices of one."""
        if self.image.mode != "P" or self.format == "GIF":
            return None
        return np.array(self.image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)

    def _grey_levels(self) -> Numbers:
        """Return the grey of a palette; its indices are renumbered by whatever writes a GIF."""
        colors = np.asarray(self.image.convert("RGB"))
        if (colors != colors[..., :1]).any():
            raise GstoVizError(
                f"{self.name} is in colour, and the palette of a GIF is renumbered by whatever "
                "writes it; save label maps as one-channel PNG"
            )
        return np.ascontiguousarray(colors[..., 0])

    def _load(self) -> None:
        size = self.size
        try:
            self.image.load()
        except _PLUG_IN_ERRORS as error:
            raise _damaged(
                self.name, " ".join(str(error).split()) or type(error).__name__
            ) from error
        if self.size != size:
            raise _damaged(self.name, "its size is not what its head says")


def _check_other(data: bytes, name: str, format_: str) -> Other:
    """Open a file by a plug-in of Pillow itself, which obeys no global setting."""
    try:
        image = PLUG_INS[format_][0](io.BytesIO(data))
    except _PLUG_IN_ERRORS as error:
        raise _damaged(name, f"its {format_} header is wrong") from error
    if isinstance(image, TiffImageFile):
        said = image.tag_v2.get(_ORIENTATION, 1)
        return Other(name, format_, image, said=said if said in range(1, 9) else 1)
    exif = image.info.get("exif", b"")
    orientation = _orientation(exif.removeprefix(b"Exif\x00\x00"))
    return Other(name, format_, image, orientation, orientation)


def check_file(data: bytes, name: str, formats: tuple[str, ...]) -> Png | Jpeg | Other:
    """Tell formats apart by content (not by suffix), check the structure, clean the file.

    Raises:
        GstoVizError: Empty, neither PNG nor JPEG, truncated or damaged.
    """
    if not data:
        raise GstoVizError(f"{name} is empty (0 bytes); copy or write it again")
    if data.startswith(PNG_SIGNATURE):
        return _check_png(data, name)
    if data.startswith(JPEG_SIGNATURE):
        return _check_jpeg(data, name)
    for format_, (_, signatures) in PLUG_INS.items():
        if format_ in formats and data.startswith(signatures):
            return _check_other(data, name, format_)
    raise GstoVizError(f"{name} is {_describe(data)}, not a PNG or JPEG image; save it as one")


def _describe(data: bytes) -> str:
    """Return, in a few words, what a file that is not a PNG or JPEG seems to be."""
    for signature, kind in _OTHER_FORMATS.items():
        if data.startswith(signature):
            return f"a {kind} file" if kind[-1] != ")" else f"a {kind}"
    if data[4:8] == b"ftyp":
        return "an AVIF, HEIC or video file"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512]):
        return "a text file"
    return "a file of unknown kind"


def _truncated(name: str) -> GstoVizError:
    return GstoVizError(f"{name} is truncated (the file ends too early); copy it again")


def _damaged(name: str, what: str) -> GstoVizError:
    return GstoVizError(f"{name} is damaged ({what}); copy or save it again")


def _check_png(data: bytes, name: str) -> Png:
    """Walk the chunks and keep what pixels are made of."""
    chunks: dict[bytes, bytes] = {}
    pixels = []
    for kind, chunk in _png_chunks(data, name):
        if not chunks and kind != b"IHDR":
            raise _damaged(name, "it does not begin with a PNG header")
        if kind == b"IDAT":
            pixels.append(chunk)
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf"):
            # Of repeated chunks the first one counts.
            chunks.setdefault(kind, bytes(chunk[8:-4]))
    header, palette = chunks[b"IHDR"], chunks.get(b"PLTE", b"")
    if len(header) != 13:
        raise _damaged(name, "its PNG header has a wrong length")
    width, height, depth, color_type = struct.unpack_from(">IIBB", header)
    if not pixels:
        raise _damaged(name, "it holds no pixels")
    if color_type == PALETTE:
        if depth > 8 or len(palette) not in range(3, 769, 3):
            raise _damaged(name, "its palette is missing or wrong")
        header = header[:9] + bytes((GREY,)) + header[10:]
    return Png(
        name,
        (width, height),
        _orientation(chunks.get(b"eXIf", b"")),
        b"".join((PNG_SIGNATURE, _chunk(b"IHDR", header), *pixels, _chunk(b"IEND", b""))),
        depth,
        color_type,
        palette,
        chunks.get(b"tRNS"),
    )


def _png_chunks(data: bytes, name: str) -> Iterator[tuple[bytes, memoryview]]:
    """Yield kind and bytes of each chunk up to IEND; checksums of those that matter are right."""
    view, position, kind = memoryview(data), len(PNG_SIGNATURE), b""
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
        yield kind, view[position:end]
        position = end


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk: length, kind, content, checksum."""
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def _check_jpeg(data: bytes, name: str) -> Jpeg:
    """Walk the segments up to the first scan; keep all but comments and application data."""
    kept = [data[:2]]
    orientation, position, marker = 1, 2, 0
    while marker != 0xDA:  # SOS, start of scan
        marker, position, end = _jpeg_segment(data, position, name)
        payload = data[position + 2 : end]
        if marker == 0xE1 and payload.startswith(b"Exif\x00\x00"):
            orientation = _orientation(payload[6:])
        if not _is_metadata(marker, payload):
            kept.append(bytes((0xFF, marker)) + data[position:end])
        position = end
    if data.count(b"\xff\xda", position) > _MAX_SCANS:
        raise _damaged(name, f"it has more than {_MAX_SCANS} scans")
    # Pixel data never holds these two bytes, so without them the end of the picture is missing.
    if data.rfind(b"\xff\xd9", position) < 0:
        raise _truncated(name)
    kept.append(data[position:])
    try:
        # The plug-in itself: ``Image.open`` obeys Pillow's global limit of the size.
        image = JpegImageFile(io.BytesIO(b"".join(kept)))
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(name, "its JPEG header is wrong") from error
    return Jpeg(name, image.size, orientation, image)


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
    if marker <= 1 or 0xD0 <= marker <= 0xD9 or length < 2:
        raise _damaged(name, "its JPEG segments do not follow each other")
    if end > len(data):
        raise _truncated(name)
    return marker, position + 1, end


def _is_metadata(marker: int, payload: bytes) -> bool:
    """Whether a segment can go: APPn and COM, but for JFIF and Adobe, which tell the colours."""
    if marker == 0xE0 and payload.startswith(b"JFIF\x00"):
        return len(payload) < 14
    if marker == 0xEE and payload.startswith(b"Adobe"):
        return len(payload) < 12
    return 0xE0 <= marker <= 0xEF or marker == 0xFE


def _orientation(exif: bytes) -> int:
    """Find tag 0x0112 in the first directory of an EXIF block; 1 when absent or unreadable.

    Pillow's own reader warns of broken blocks, and warnings cannot be caught in one thread alone.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == 0x0112 and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # the directory points outside the block
        pass
    return 1


def _over_white(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lay (H, W, 4) over white; returns (H, W, 3), rounded to nearest."""
    alpha = rgba[..., 3:].astype(np.uint16)
    # At most 255 * 255 + 127, which uint16 holds.
    mixed = rgba[..., :3] * alpha + 255 * (255 - alpha) + 127
    return (mixed // 255).astype(np.uint8)


def upright(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo the camera's rotation (EXIF 2.3: where row 0 and column 0 of the file belong)."""
    if orientation >= 5:  # rows of the file are columns of the picture
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
