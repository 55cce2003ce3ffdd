"""What the page "Explore" offers for download: the same functions serve page and command line."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.capture import safe_name as tap_name
from gsto_viz.explorer.comparison import responses, to_csv
from gsto_viz.explorer.drawings import MODE_TEXTS, draw_comparison
from gsto_viz.explorer.export_files import (
    KINDS,
    ExportFile,
    Exports,
    csv_bytes,
    export_stem,
    npz_bytes,
    png_bytes,
)
from gsto_viz.explorer.probe import (
    Point,
    clamped,
    class_scores,
    default_point,
    percentile_maps,
    pixel_profile,
    region_at,
    region_facts,
    region_numbers,
    region_profile,
)
from gsto_viz.explorer.shown import LETTERS, Shown
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
from gsto_viz.heatmaps import RAW_BADGE, RAW_MODES, HeatMap
from gsto_viz.regions import PreparedRegions

PAGE = "explore"
REDUCTIONS = {
    False: "mean over channels, each divided by its standard deviation over training images",
    True: "mean over channels",
}
"""What is kept of a branch's channels, by whether the scale is a raw one."""
HEADERS = {
    "stride": "stride (px)",
    "row": "row (cell)",
    "column": "column (cell)",
    "percentile": "percentile (0..1)",
    "raw": "raw channel mean (arbitrary units)",
    "low": "lowest raw value of the map (arbitrary units)",
    "high": "highest raw value of the map (arbitrary units)",
    "cells": "area (cells)",
}
"""Columns of a profile, with units."""


def explore_exports(shown: Shown, regions: PreparedRegions, state: ViewState) -> Exports:
    """Return every file of a view; nothing is computed before one is made.

    Args:
        shown: Two networks on one image.
        regions: Of that image.
        state: The view, with its probe.
    """
    probe = Probe(shown, regions, state)
    files = [
        ExportFile(f"figure.{kind}", f"Figure ({text})", partial(_figure, shown, state, kind))
        for kind, text in KINDS.items()
    ]
    files += [
        ExportFile("profile.csv", "Profile (CSV)", probe.profile_csv),
        ExportFile("scores.csv", "Class scores (CSV)", probe.scores_csv),
    ]
    if shown.why_unlabelled is None:
        files.append(ExportFile("sizes.csv", "By size (CSV)", partial(_sizes, shown)))
    files += [
        ExportFile("maps.npz", "Maps and logits (NPZ)", partial(_maps, shown)),
        ExportFile("view.json", "This view (JSON)", probe.view_json),
    ]
    names = [shown.inspections[letter].name for letter in LETTERS]
    identity = (*shown.key, str(sorted(state.to_query(PAGE).items())))
    stem = export_stem(shown.sample.id, names, PAGE, identity)
    return Exports(stem, tuple(files), _tiles(shown, state))


class Probe:
    """The numbers at the probe of a view.

    Args:
        shown: Two networks on one image.
        regions: Of that image.
        state: The view.
    """

    def __init__(self, shown: Shown, regions: PreparedRegions, state: ViewState) -> None:
        self.shown, self.regions, self.state = shown, regions, state
        self.point = default_point(shown, regions)
        if state.x is not None and state.y is not None:
            self.point = clamped(state.x, state.y, shown.size)
        by_region = state.pick == "region"
        self.region = region_at(regions, self.point) if by_region else 0
        """Number of the region under the probe; 0: a pixel is probed, or it lies in no region."""
        self.nowhere = by_region and self.region == 0

    def profile(self) -> pd.DataFrame:
        """Return the profile of probe and pin with where they are; no rows of a probe nowhere."""
        parts = []
        if self.region:
            numbers = region_numbers(self.shown, self.regions)
            profile = region_profile(self.shown, self.regions, numbers, self.region)
            parts.append(self._placed(profile, "probe", self.point))
        elif not self.nowhere:
            parts.append(self._placed(self._at(self.point), "probe", self.point))
        pin = self.pin
        if pin is not None:
            parts.append(self._placed(self._at(pin), "pin", pin))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    @property
    def pin(self) -> Point | None:
        """The pinned pixel, or None."""
        if self.state.px is None or self.state.py is None:
            return None
        return clamped(self.state.px, self.state.py, self.shown.size)

    def _at(self, point: Point) -> pd.DataFrame:
        return pixel_profile(self.shown, percentile_maps(self.shown), point)

    def _placed(self, profile: pd.DataFrame, place: str, point: Point) -> pd.DataFrame:
        region = self.region if place == "probe" else 0
        where = {"place": place, "x": point.x, "y": point.y, "region": region}
        front = pd.DataFrame([where] * len(profile))
        return pd.concat([front, profile.reset_index(drop=True)], axis=1)

    def scores(self) -> pd.DataFrame:
        """Return the mean score of every class over the probed pixels: ``class``, ``A``, ``B``."""
        if self.nowhere:
            return pd.DataFrame(columns=["class", *LETTERS])
        if self.region:
            where = np.nonzero(self.regions.regions.ids == self.region)
            rows, columns = where[0], where[1]
        else:
            rows, columns = np.array([self.point.y]), np.array([self.point.x])
        scores = class_scores(self.shown, (rows, columns))
        return pd.DataFrame({"class": list(self.shown.classes.names), **scores})

    def numbers(self) -> dict[str, Any]:
        """Return everything the page says at the probe, for a file."""
        facts = None
        if self.region:
            table = region_numbers(self.shown, self.regions)
            facts = region_facts(self.shown, self.regions, table, self.region)
        return {
            "point": {"x_px": self.point.x, "y_px": self.point.y},
            "profile": self.profile(),
            "scores": self.scores(),
            "region": facts,
            "region_source": self.shown.region_source,
            "disagreement_share": disagreement(self.shown)[1],
            "maps": _map_numbers(self.shown, self.state.mode),
        }

    def profile_csv(self) -> bytes:
        """Return the profile as a file: units in the headers, and what each row comes from."""
        profile = self.profile()
        if profile.empty:
            return csv_bytes(pd.DataFrame(columns=["place", *HEADERS.values()]))
        model = profile["model"]
        named = profile.rename(columns={"x": "x (px)", "y": "y (px)", **HEADERS})
        named.insert(0, "image", self.shown.sample.id)
        named.insert(1, "checkpoint", model.map({k: i.name for k, i in self._networks}))
        named.insert(2, "sha256", model.map(self.shown.fingerprints))
        return csv_bytes(named)

    @property
    def _networks(self) -> list[tuple[str, Any]]:
        return list(self.shown.inspections.items())

    def scores_csv(self) -> bytes:
        """Return the class scores as a file."""
        return csv_bytes(self.scores().rename(columns={x: f"{x} score (0..1)" for x in LETTERS}))

    def view_json(self) -> bytes:
        """Return the whole view as a file that ``gsto-viz export`` replays."""
        view = ViewFile(
            page=PAGE,
            state=self.state,
            image=image_record(self.shown, self.state),
            checkpoints=checkpoint_records(self.shown),
            numbers=self.numbers(),
        )
        return view_bytes(view, _display(self.shown, self.state))


def _display(shown: Shown, state: ViewState) -> dict[str, Any]:
    """Return how the numbers of a view are shown, in words."""
    raw = state.mode in RAW_MODES
    return {
        "scale": state.mode,
        "scale_in_words": MODE_TEXTS[state.mode],
        "badge": RAW_BADGE if raw else None,
        "reduction": REDUCTIONS[raw],
        "site": shown.inspections["A"].site,
        "colors": state.colors,
        "interpolation": "nearest",
        "logits": "float16",
        "image": shown.picture.description,
        "notices": {x: shown.choices[x].notice for x in LETTERS if shown.choices[x].notice},
    }


def _map_numbers(shown: Shown, mode: str) -> list[dict[str, Any]]:
    """Return limits and range of every branch map as displayed."""
    rows = []
    for letter, maps in branch_maps(shown, mode).items():
        for branch, heat in enumerate(maps):
            known = heat.values[np.isfinite(heat.values)]
            beyond = (known < heat.low) | (known > heat.high)
            rows.append(
                {
                    "model": letter,
                    "tap": _branch_tap(shown, letter, branch),
                    "stride_px": heat.stride,
                    "bar_low": heat.low,
                    "bar_high": heat.high,
                    "min": float(known.min()) if known.size else math.nan,
                    "mean": float(known.mean()) if known.size else math.nan,
                    "max": float(known.max()) if known.size else math.nan,
                    "beyond_bar_share": float(beyond.mean()) if known.size else 0.0,
                    "uncounted_cells": int(heat.values.size - known.size),
                }
            )
    return rows


def _branch_tap(shown: Shown, letter: str, branch: int) -> str:
    return shown.inspections[letter].site.replace("*", str(branch))


def _figure(shown: Shown, state: ViewState, kind: str) -> bytes:
    drawing = draw_comparison(
        shown.sample, shown.inspections, shown.classes, state.mode, kind, state.colors
    )
    return drawing.content


def _sizes(shown: Shown) -> bytes:
    frames = responses(shown.sample, shown.inspections)
    return to_csv(frames, shown.inspections, shown.fingerprints, shown.sample.id).encode()


def map_arrays(shown: Shown) -> dict[str, npt.NDArray[Any]]:
    """Return every map of both networks under ``LETTER.TAP[.KIND]``, and the labels.

    Branch maps are ``A.stage4.branch0.raw`` (channel mean) and ``.activity`` (gain-fixed), gates
    ``B.stage4.m0.gate.2to0``, then ``A.prediction`` (class indices) and ``A.head.logits``.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for letter in LETTERS:
        seen = shown.inspections[letter]
        for branch, (raw, activity) in enumerate(zip(seen.raw, seen.activity, strict=True)):
            tap = f"{letter}.{_branch_tap(shown, letter, branch)}"
            arrays[f"{tap}.raw"], arrays[f"{tap}.activity"] = raw, activity
        arrays |= {f"{letter}.{tap_name(gate)}": values for gate, values in seen.gates.items()}
        arrays[f"{letter}.prediction"] = seen.prediction
        if seen.logits is not None:
            arrays[f"{letter}.head.logits"] = seen.logits
    if shown.sample.labels is not None:
        arrays["labels"] = shown.sample.labels
    return arrays


def _maps(shown: Shown) -> bytes:
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
    return npz_bytes(map_arrays(shown), about)


def _tiles(shown: Shown, state: ViewState) -> tuple[ExportFile, ...]:
    """Return the tiles of the viewer as pictures: one pixel per cell, or per pixel of the image."""
    tiles = [_tile("input", "Input", lambda: shown.sample.image)]
    labels, classes = shown.sample.labels, shown.classes
    if labels is not None:
        tiles.append(_tile("truth", "Ground truth", partial(class_pixels, labels, classes)))
    for letter in LETTERS:
        prediction = shown.inspections[letter].prediction
        paint = partial(class_pixels, prediction, classes)
        tiles.append(_tile(f"prediction{letter}", f"Prediction {letter}", paint))
    differ = "B where it differs from A"
    tiles.append(
        _tile("disagreement", differ, lambda: class_pixels(disagreement(shown)[0], classes))
    )
    for letter in LETTERS:
        for branch, stride in enumerate(shown.inspections[letter].strides):
            paint = partial(_branch_pixels, shown, state, letter, branch)
            tiles.append(_tile(f"{letter}{stride}", f"{letter} /{stride}", paint))
    for branch, stride in enumerate(shown.inspections["A"].strides):
        paint = partial(_difference_pixels, shown, state, branch)
        tiles.append(_tile(f"D{stride}", f"B - A /{stride}", paint))
    return tuple(tiles)


def _tile(key: str, title: str, paint: Any) -> ExportFile:
    return ExportFile(f"tiles/{key}.png", title, lambda: png_bytes(paint()))


def _branch_pixels(
    shown: Shown, state: ViewState, letter: str, branch: int
) -> npt.NDArray[np.uint8]:
    return map_pixels(branch_maps(shown, state.mode)[letter][branch], state.colors)


def _difference_pixels(shown: Shown, state: ViewState, branch: int) -> npt.NDArray[np.uint8]:
    maps: Mapping[str, tuple[HeatMap, ...]] = branch_maps(shown, state.mode)
    return map_pixels(difference_map(maps["A"][branch], maps["B"][branch]), DIVERGING)
