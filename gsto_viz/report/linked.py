"""The linked viewer of the explorer inside ``report.html``: a few images that need no Python.

The page holds ``explorer/viewer.js`` itself, the numbers behind its tiles, and ``page.js``, which
chooses what is shown.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import normalise, valid_by_stride
from gsto_viz.errors import GstoVizError
from gsto_viz.look import Look
from gsto_viz.plots.skeletons import paint_skeletons
from gsto_viz.plots.tiles import (
    Tile,
    class_tile,
    color_table,
    map_tile,
    picture_tile,
    shared_data,
)
from gsto_viz.report.examples import Example
from gsto_viz.report.summary import Report
from gsto_viz.types import IGNORE
from gsto_viz.words import MODES

IMAGES = 8
"""At most so many, as far as ``BUDGET`` reaches."""
BUDGET = 5_400_000
"""Characters of numbers and pictures; the first image is shown even where it alone takes more."""
SHOWN_MODES = ("percentile", "shared", "per_map")
"""Two arrays make all three; z-scores would be half as much again."""
LARGE = 640 * 480
"""Pixels of an image from which on only percentiles are kept."""
DATA = "viewer-data"
"""Id of the element that holds the numbers."""
_FILES = resources.files("gsto_viz")
_READ = ("image", "region", "class_id", "area_px", "q")


def viewer_script() -> str:
    """Return the one script of the page: the explorer's viewer, and what mounts it here."""
    parts = (_FILES / "explorer" / "viewer.js", _FILES / "report" / "page.js")
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


def viewer_style() -> str:
    """Return the style of the explorer's viewer."""
    return (_FILES / "explorer" / "viewer.css").read_text(encoding="utf-8")


def viewer_json(report: Report) -> str:
    """Return what the viewer shows as JSON that is inert in a page; empty without images.

    The reference and one network, in every mode that their maps have.
    """
    keys = report.keys[:2]
    tables = {key: _by_image(report.table(key, _READ)) for key in keys}
    found: list[dict[str, Any]] = []
    left = BUDGET
    for example in report.examples:
        one = _image(report, example, tables)
        left -= len(json.dumps(one))
        if one["modes"] and (left >= 0 or not found):
            found.append(one)
        if left < 0 or len(found) == IMAGES:
            break
    if not found:
        return ""
    modes = {
        key: {"label": mode.label, "meaning": mode.meaning, "table": color_table(mode.colors)}
        for key, mode in MODES.items()
        if key in SHOWN_MODES
    }
    values = {
        "networks": {key: f"{key}: {report.names[key]}" for key in keys},
        "modes": modes,
        "images": found,
    }
    return json.dumps(values).replace("<", "\\u003c")


def _by_image(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(image): rows for image, rows in table.groupby("image", observed=True)}


def _image(
    report: Report, example: Example, tables: Mapping[str, Mapping[str, pd.DataFrame]]
) -> dict[str, Any]:
    """Return one image: its tiles, its regions, its pairs. Long texts are kept once, in a list."""
    sample, pool = example.sample, dict[str, int]()

    def pooled(tile: Tile) -> Tile:
        once = {name: tile[name] for name in ("numbers", "raw") if name in tile}
        return tile | {name: pool.setdefault(text, len(pool)) for name, text in once.items()}

    looks = {key: example.looks[key] for key in tables}
    height, width = sample.image.shape[:2]
    return {
        "image": sample.id,
        "height": height,
        "width": width,
        "first": _first_row(example, looks),
        "modes": _mode_rows(sample.labels, looks, (height, width), pooled),
        "pool": list(pool),
        "facts": _facts(report, sample.id, tables),
        "pairs": [_pair(example, pair) for pair in example.pairs if pair.model in tables],
        **shared_data(report.classes, example.regions),
    }


def _first_row(example: Example, looks: Mapping[str, Look]) -> list[Tile]:
    """Return the image, its annotation, and what each network says about it."""
    sample = example.sample
    tiles = [picture_tile("input", "Image", sample.image, small=True)]
    if sample.labels is not None:
        tiles.append(class_tile("truth", "Annotation", sample.labels))
    for key, look in looks.items():
        if look.joints is not None and look.skeletons is not None:
            drawn = paint_skeletons(sample.image, look.skeletons, look.joints)
            tiles.append(picture_tile(f"skeletons{key}", f"Skeletons of {key}", drawn, small=True))
        elif look.predicts:
            tiles.append(class_tile(f"prediction{key}", f"Prediction of {key}", look.prediction))
    return tiles


def _mode_rows(
    labels: npt.NDArray[np.integer] | None,
    looks: Mapping[str, Look],
    size: tuple[int, int],
    pooled: Callable[[Tile], Tile],
) -> dict[str, dict[str, list[Tile]]]:
    """Return the branch maps of each network in each mode that they have."""
    strides = dict.fromkeys(stride for look in looks.values() for stride in look.strides)
    valid = None if labels is None else valid_by_stride(labels, tuple(strides), IGNORE)
    rows: dict[str, dict[str, list[Tile]]] = {}
    for mode in SHOWN_MODES if size[0] * size[1] <= LARGE else ("percentile",):
        try:
            maps = normalise(list(looks.values()), mode, valid)
        except GstoVizError:
            # Networks of different strides share no scale; other modes do not need one.
            continue
        rows[mode] = {
            key: [
                pooled(
                    map_tile(
                        f"{key}{heat.stride}",
                        f"{key}, branch /{heat.stride}",
                        heat,
                        raw=None if heat.raw else raw,
                        size=size,
                    )
                )
                for heat, raw in zip(own, look.raw, strict=True)
            ]
            for (key, look), own in zip(looks.items(), maps, strict=True)
        }
    return rows


def _facts(
    report: Report, image: str, tables: Mapping[str, Mapping[str, pd.DataFrame]]
) -> dict[int, dict[str, Any]]:
    """Return what is known of each region of an image, by its number."""
    facts: dict[int, dict[str, Any]] = {}
    classes = list(report.classes)
    for key, by_image in tables.items():
        if image not in by_image:
            continue
        columns = by_image[image][list(_READ[1:])]
        for region, number, area, q in columns.astype("float64").to_numpy().tolist():
            name = classes[int(number)].name if 0 <= number < len(classes) else ""
            fact = facts.setdefault(int(region), {"name": name, "area": int(area), "q": {}})
            fact["q"][key] = None if np.isnan(q) else round(q, 3)
    return facts


def _pair(example: Example, pair: Any) -> dict[str, Any]:
    """Return a pair in the wrong order with a pixel of each of its regions."""
    return asdict(pair) | {
        "small": _inside(example.regions == pair.small_region),
        "large": _inside(example.regions == pair.large_region),
    }


def _inside(mask: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Return the pixel of a region that lies nearest its middle."""
    rows, columns = np.nonzero(mask)
    nearest = int(np.hypot(rows - rows.mean(), columns - columns.mean()).argmin())
    return {"x": int(columns[nearest]), "y": int(rows[nearest])}
