"""Files that a page offers for download, and the figures among them."""

import hashlib
import io
import json
import re
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from gsto_viz.capture import safe_name as tap_name
from gsto_viz.explorer.exports.view_file import (
    ViewFile,
    checkpoint_records,
    image_record,
    view_bytes,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import safe_name
from gsto_viz.explorer.values.tiles import (
    DIVERGING,
    branch_maps,
    class_pixels,
    difference_map,
    disagreement,
    map_pixels,
    skeleton_pictures,
)
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.plots import (
    Marks,
    PairRow,
    PanelRow,
    alt_text,
    figure_scale_confusion,
    figure_worst_pairs,
    save_figure,
)
from gsto_viz.plots.pairs import MAX_ROWS
from gsto_viz.words import RAW_BADGE

_DRAWING = threading.Lock()
PRINT_DPI = 300.0


@dataclass(frozen=True)
class Drawing:
    """A figure as a file's content, and its description in words."""

    content: bytes
    alt: str


def drawn(make: Callable[[], Figure], kind: str, dpi: float | None = PRINT_DPI) -> Drawing:
    """Draw a figure as a file, one at a time: Matplotlib's settings belong to the process.

    Args:
        make: Draws it.
        kind: ``png``, ``svg`` or ``pdf``.
        dpi: Of a PNG; None: for the screen.
    """
    with _DRAWING, tempfile.TemporaryDirectory(prefix="gsto-viz-") as folder:
        figure = make()
        (path,) = save_figure(figure, Path(folder) / "figure", formats=(kind,), dpi=dpi)
        return Drawing(path.read_bytes(), alt_text(figure))


@dataclass(frozen=True, eq=False)
class Sheet:
    """What a page shows, ready to be drawn.

    Attributes:
        rows: Its tiles.
        marks: Probe, pin and outlined region.
        caption: What image, networks and scale are.
        opacity: Of heat maps over the image, 0..1.
    """

    rows: Sequence[PanelRow]
    marks: Marks
    caption: str
    opacity: float = 1.0


def draw_worst_pairs(
    rows: Sequence[PairRow], names: Mapping[str, str], *, caption: bool = True
) -> Drawing:
    """Draw pairs of regions in the wrong order for the screen, at most as many as fit one page.

    Args:
        rows: One or more.
        names: By network, the checkpoint.
        caption: Say below what a row shows.
    """
    return drawn(
        partial(figure_worst_pairs, rows[:MAX_ROWS], names=names, caption=caption), "png", None
    )


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

    def archive(self, making: "Making | None" = None) -> ExportFile:
        """Return all files as one archive, in a folder named as the stem.

        Args:
            making: Is told how far it is.
        """
        return ExportFile("all.zip", "Everything (ZIP)", partial(self._zip, making or Making()))

    def _zip(self, making: "Making") -> bytes:
        files, made = self.all_files(), {}
        try:
            for done, file in enumerate(files):
                making.words = f"Making file {done + 1} of {len(files)}: {file.name}"
                making.share = done / len(files)
                made[f"{self.stem}/{file.name}"] = file.make()
            return zip_bytes(made)
        finally:
            making.words, making.share = "", 0.0


@dataclass
class Making:
    """How far an archive is, told by the thread that makes it.

    Attributes:
        words: What is made now; empty while nothing is.
        share: Of the files that are made, 0..1.
    """

    words: str = ""
    share: float = 0.0


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


REDUCTIONS = {
    False: "mean over channels, each divided by its standard deviation over training images",
    True: "mean over channels",
}
"""What is kept of a branch's channels, by whether the scale is a raw one."""
SIZE_HEADERS = {
    "stride": "stride (px)",
    "octave": "size, lower end (octaves)",
    "mean": "mean percentile (0..1)",
    "n_regions": "regions",
    "n_images": "images",
}
"""Columns of the responses by size, with units; a size is log2 of the square root of an area."""


def stem_of(page: str, shown: Shown, state: ViewState) -> str:
    """Return what the names of a view's files begin with.

    Args:
        page: One of ``PAGES``.
        state: The view.
    """
    names = [shown.inspections[letter].name for letter in LETTERS]
    identity = (*shown.key, str(sorted(state.to_query(page).items())))
    return export_stem(shown.sample.id, names, page, identity)


def view_json(
    page: str,
    shown: Shown,
    state: ViewState,
    numbers: Mapping[str, Any],
    display: Mapping[str, Any],
    *,
    source: str | None = None,
) -> bytes:
    """Return a view as a file that ``gsto-viz export`` replays.

    Args:
        page: One of ``PAGES``.
        state: The view.
        numbers: What the page shows.
        display: How it shows them; image and notices of the checkpoints are added.
        source: Where the image comes from; None: where the view says.
    """
    notices = {x: shown.choices[x].notice for x in LETTERS if shown.choices[x].notice}
    image = image_record(shown, state)
    view = ViewFile(
        page=page,
        state=state,
        image=image if source is None else replace(image, source=source),
        checkpoints=checkpoint_records(shown),
        numbers=dict(numbers),
    )
    about = {"image": shown.picture.description, "notices": notices}
    return view_bytes(view, {**display, **about})


def origin(table: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Return a table with a column ``model`` after what each row comes from.

    The columns ``image``, ``model``, ``checkpoint`` and ``sha256`` come first.
    """
    letters = table["model"]
    names = {letter: shown.inspections[letter].name for letter in LETTERS}
    named = table.drop(columns="model")
    named.insert(0, "image", shown.sample.id)
    named.insert(1, "model", letters)
    named.insert(2, "checkpoint", letters.map(names))
    named.insert(3, "sha256", letters.map(shown.fingerprints))
    return named


def sizes_csv(shown: Shown, frames: Mapping[str, pd.DataFrame]) -> bytes:
    """Return what ``responses`` of ``comparison`` gave as a file, with what each row comes from."""
    parts = [frame.assign(model=letter) for letter, frame in frames.items()]
    # One image has no intervals.
    table = pd.concat(parts, ignore_index=True).drop(columns=["low", "high", "reason"])
    return csv_bytes(origin(table.rename(columns=SIZE_HEADERS), shown))


def figure_files(name: str, label: str, make: Callable[[], Figure]) -> list[ExportFile]:
    """Return a figure in every format; it is drawn when a file is asked for."""
    return [
        ExportFile(f"{name}.{kind}", f"{label} ({text})", partial(_figure, make, kind))
        for kind, text in KINDS.items()
    ]


def _figure(make: Callable[[], Figure], kind: str) -> bytes:
    return drawn(make, kind).content


def paper_files(shown: Shown, mode: str, colors: str) -> list[ExportFile]:
    """Return the main figure: A over B, branch by branch, with their gates."""
    make = partial(
        figure_scale_confusion,
        shown.sample,
        shown.inspections,
        classes=shown.pixel_classes,
        mode=mode,
        colors=colors,
    )
    return figure_files("figure", "Figure as in the paper", make)


def about_pair(shown: Shown) -> dict[str, Any]:
    """Return of which image and networks arrays are."""
    return {
        "image": shown.sample.id,
        "pixels_sha256": shown.picture.key,
        "checkpoints": {x: shown.inspections[x].name for x in LETTERS},
        "sha256": shown.fingerprints,
        "classes": list(shown.classes.names),
    }


def branch_tap(shown: Shown, letter: str, branch: int) -> str:
    """Return the tap of a branch map."""
    return shown.inspections[letter].site.replace("*", str(branch))


def map_arrays(shown: Shown) -> dict[str, npt.NDArray[Any]]:
    """Return every map of both networks under ``LETTER.TAP[.KIND]``, and the labels.

    Branch maps are ``A.stage4.branch0.raw`` (channel mean) and ``.activity`` (gain-fixed), gates
    ``B.stage4.m0.gate.2to0``, then ``A.prediction`` (class indices; not of networks for pose) and
    ``A.head.logits``.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for letter in LETTERS:
        seen = shown.inspections[letter]
        for branch, (raw, activity) in enumerate(zip(seen.raw, seen.activity, strict=True)):
            tap = f"{letter}.{branch_tap(shown, letter, branch)}"
            arrays[f"{tap}.raw"], arrays[f"{tap}.activity"] = raw, activity
        arrays |= {f"{letter}.{tap_name(gate)}": values for gate, values in seen.gates.items()}
        if not shown.pose:
            arrays[f"{letter}.prediction"] = seen.prediction
        if seen.logits is not None:
            arrays[f"{letter}.head.logits"] = seen.logits
    if shown.sample.labels is not None:
        arrays["labels"] = shown.sample.labels
    return arrays


def maps_npz(shown: Shown, more: Mapping[str, npt.NDArray[Any]] | None = None) -> bytes:
    """Return the maps of both networks, and more arrays, as a file."""
    about = about_pair(shown) | {
        "strides": {x: list(shown.inspections[x].strides) for x in LETTERS},
        "gate_range": {x: shown.inspections[x].gate_range for x in LETTERS},
        "raw": f"{REDUCTIONS[True]}; {RAW_BADGE}",
        "activity": REDUCTIONS[False],
    }
    return npz_bytes({**map_arrays(shown), **(more or {})}, about)


def image_tiles(shown: Shown) -> list[ExportFile]:
    """Return what ``first_row`` shows as pictures of the image's size."""
    tiles = [tile_file("input", "Input", lambda: shown.sample.image)]
    labels, classes = shown.sample.labels, shown.pixel_classes
    if labels is not None:
        tiles.append(tile_file("truth", "Ground truth", partial(class_pixels, labels, classes)))
    if shown.pose:
        pictures = skeleton_pictures(shown)
        return tiles + [tile_file(one.key, one.title, one.pixels) for one in pictures]
    for letter in LETTERS:
        paint = partial(class_pixels, shown.inspections[letter].prediction, classes)
        tiles.append(tile_file(f"prediction{letter}", f"Prediction {letter}", paint))
    tiles.append(
        tile_file(
            "disagreement",
            "B where it differs from A",
            lambda: class_pixels(disagreement(shown)[0], classes),
        )
    )
    return tiles


def tile_file(key: str, title: str, paint: Callable[[], npt.NDArray[np.uint8]]) -> ExportFile:
    """Return a picture that is painted when it is asked for."""
    return ExportFile(f"tiles/{key}.png", title, lambda: png_bytes(paint()))


def branch_tiles(shown: Shown, mode: str, colors: str) -> tuple[ExportFile, ...]:
    """Return the tiles of the viewer as pictures: one pixel per cell, or per pixel of the image.

    Args:
        mode: One of ``gsto_viz.words.MODES``.
        colors: One of ``COLORS``.
    """
    tiles = image_tiles(shown)
    for letter in LETTERS:
        for branch, stride in enumerate(shown.inspections[letter].strides):
            paint = partial(_branch_pixels, shown, mode, colors, letter, branch)
            tiles.append(tile_file(f"{letter}{stride}", f"{letter} /{stride}", paint))
    for branch, stride in enumerate(shown.inspections["A"].strides):
        paint = partial(_difference_pixels, shown, mode, branch)
        tiles.append(tile_file(f"D{stride}", f"B - A /{stride}", paint))
    return tuple(tiles)


def _branch_pixels(
    shown: Shown, mode: str, colors: str, letter: str, branch: int
) -> npt.NDArray[np.uint8]:
    return map_pixels(branch_maps(shown, mode)[letter][branch], colors)


def _difference_pixels(shown: Shown, mode: str, branch: int) -> npt.NDArray[np.uint8]:
    maps = branch_maps(shown, mode)
    return map_pixels(difference_map(maps["A"][branch], maps["B"][branch]), DIVERGING)
