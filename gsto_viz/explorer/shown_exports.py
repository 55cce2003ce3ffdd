"""What the exports of pages that show an image through two networks have in common."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.capture import safe_name as tap_name
from gsto_viz.explorer.drawings import draw_comparison
from gsto_viz.explorer.export_files import (
    KINDS,
    ExportFile,
    csv_bytes,
    export_stem,
    npz_bytes,
    png_bytes,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.skeleton_pictures import skeleton_pictures
from gsto_viz.explorer.view_file import ViewFile, checkpoint_records, image_record, view_bytes
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.explorer.viewer_data import (
    DIVERGING,
    branch_maps,
    class_pixels,
    difference_map,
    disagreement,
    map_pixels,
)
from gsto_viz.words import RAW_BADGE

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


def figure_files(shown: Shown, mode: str, colors: str | None) -> list[ExportFile]:
    """Return the main figure in every format: A over B, branch by branch, with their gates."""
    files = []
    for kind, text in KINDS.items():
        draw = partial(_figure, shown, mode, colors, kind)
        files.append(ExportFile(f"figure.{kind}", f"Figure as in the paper ({text})", draw))
    return files


def _figure(shown: Shown, mode: str, colors: str | None, kind: str) -> bytes:
    drawing = draw_comparison(
        shown.sample, shown.inspections, shown.pixel_classes, mode, kind, colors
    )
    return drawing.content


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
    about = {
        "image": shown.sample.id,
        "pixels_sha256": shown.picture.key,
        "checkpoints": {x: shown.inspections[x].name for x in LETTERS},
        "sha256": shown.fingerprints,
        "strides": {x: list(shown.inspections[x].strides) for x in LETTERS},
        "gate_range": {x: shown.inspections[x].gate_range for x in LETTERS},
        "classes": list(shown.classes.names),
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
