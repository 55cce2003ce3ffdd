"""Files that a page offers for download: each with a name, and made only when it is asked for.

Plain functions: tables, arrays, pictures and archives as bytes. What goes into them is decided by
the pages (``explore_export``) and drawn as buttons by ``export_menu``.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from gsto_viz.explorer.safe_text import safe_name

MIMES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "csv": "text/csv",
    "json": "application/json",
    "npz": "application/octet-stream",
    "zip": "application/zip",
}
"""By suffix."""
KINDS = {"png": "PNG", "svg": "SVG", "pdf": "PDF"}
"""Formats of figures, in words; PNGs have 300 dpi."""
NAME_PART = 40
"""Longest part of a file's name, characters."""
ABOUT = "about"
"""Key of the JSON text inside an ``.npz``."""
_FORMULA = re.compile(r"[=+\-@\t\r]")
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ExportFile:
    """One file that can be made.

    Attributes:
        name: Within a folder of its own, such as ``profile.csv`` or ``tiles/A4.png``; letters,
            digits, dot, dash, underscore, and slash for a subfolder.
        label: What it is, in words.
        make: Makes its content.
    """

    name: str
    label: str
    make: Callable[[], bytes]

    @property
    def mime(self) -> str:
        """Its media type."""
        return MIMES[self.name.rpartition(".")[2]]

    def saved_as(self, stem: str) -> str:
        """Return its name when it is saved alone, beside files of other views."""
        return f"{stem}-{self.name.replace('/', '-')}"


@dataclass(frozen=True)
class Exports:
    """All files of one view.

    Attributes:
        stem: What their names begin with when they are saved: image, checkpoints, page, hash.
        files: One each.
        tiles: Pictures of which one is chosen; may be empty.
    """

    stem: str
    files: tuple[ExportFile, ...]
    tiles: tuple[ExportFile, ...] = ()

    def all_files(self) -> tuple[ExportFile, ...]:
        """Return every file, tiles last."""
        return (*self.files, *self.tiles)

    def archive(self) -> ExportFile:
        """Return all files as one archive, in a folder named as the stem."""
        return ExportFile("all.zip", "Everything (ZIP)", self._zip)

    def _zip(self) -> bytes:
        made = {f"{self.stem}/{file.name}": file.make() for file in self.all_files()}
        return zip_bytes(made)


def export_stem(image: str, checkpoints: Sequence[str], page: str, identity: Sequence[str]) -> str:
    """Return what the names of a view's files begin with.

    Args:
        image: Id of the image.
        checkpoints: Names of the checkpoints.
        page: Name of the page.
        identity: Everything the view depends on; its SHA-256 gives the last eight digits.

    Returns:
        Letters, digits, dot, dash and underscore, at most 200 characters.
    """
    digest = hashlib.sha256(json.dumps(list(identity)).encode()).hexdigest()[:8]
    parts = [safe_name(part)[:NAME_PART] for part in (image, *checkpoints, page)]
    return "-".join((*parts, digest))


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as CSV in UTF-8 with full precision; missing values are empty.

    Texts that a spreadsheet would run as a formula (they begin with = + - @, tab or return) get an
    apostrophe in front; numbers stay as they are.
    """
    safe = table.map(_harmless).rename(columns=_harmless)
    return safe.to_csv(index=False, lineterminator="\n").encode()


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> bytes:
    """Return arrays as a compressed ``.npz`` without pickle; ``about`` is a JSON text in it."""
    buffer = io.BytesIO()
    text = np.array(json.dumps(about, allow_nan=False))
    np.savez_compressed(buffer, allow_pickle=False, **{ABOUT: text}, **arrays)
    return buffer.getvalue()


def png_bytes(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) pixels as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """Return an archive; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
