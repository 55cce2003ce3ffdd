"""What the page "Explore" offers for download: the same functions serve page and command line."""

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.explorer.exports.figures import branch_sheet, marks_at, view_files
from gsto_viz.explorer.exports.files import (
    REDUCTIONS,
    ExportFile,
    Exports,
    Sheet,
    branch_tap,
    branch_tiles,
    csv_bytes,
    maps_npz,
    origin,
    paper_files,
    sizes_csv,
    stem_of,
    view_json,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.values.probe import (
    HeardCells,
    Point,
    class_scores,
    heard_at,
    heard_table,
    percentile_maps,
    pinned,
    pixel_profile,
    probed,
    probed_pixels,
    region_at,
    region_facts,
    region_numbers,
    region_profile,
    relation_arrows,
    responses,
)
from gsto_viz.explorer.values.tiles import branch_maps, disagreement
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.regions import PreparedRegions
from gsto_viz.words import MODES, RAW_BADGE

PAGE = "explore"
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
HEARD_HEADERS = {
    "row": "row (cell)",
    "column": "column (cell)",
    **{name: f"{name} (px)" for name in ("y0", "x0", "y1", "x1")},
    "weight": "weight (0..1)",
}
"""Columns of the cells that a pixel listens to, with units; y1 and x1 are exclusive."""


def explore_exports(shown: Shown, regions: PreparedRegions, state: ViewState) -> Exports:
    """Return every file of a view; nothing is computed before one is made.

    Args:
        regions: Of that image.
        state: The view, with its probe.
    """
    probe = Probe(shown, regions, state)
    files = [
        *view_files(shown, probe.sheet),
        *paper_files(shown, state.mode, state.colors),
        ExportFile("profile.csv", "Profile (CSV)", probe.profile_csv),
        ExportFile("scores.csv", "Class scores (CSV)", probe.scores_csv),
    ]
    if relation_arrows(shown):
        files.append(ExportFile("listening.csv", "Listening weights (CSV)", probe.heard_csv))
    if shown.why_unlabelled is None:
        files.append(ExportFile("sizes.csv", "By size (CSV)", partial(_sizes, shown)))
    files += [
        ExportFile("maps.npz", "Maps and logits (NPZ)", partial(maps_npz, shown)),
        ExportFile("view.json", "This view (JSON)", probe.view_json),
    ]
    tiles = branch_tiles(shown, state.mode, state.colors)
    return Exports(stem_of(PAGE, shown, state), tuple(files), tiles)


class Probe:
    """The numbers at the probe of a view.

    Args:
        regions: Of that image.
        state: The view.
    """

    def __init__(self, shown: Shown, regions: PreparedRegions, state: ViewState) -> None:
        self.shown, self.regions, self.state = shown, regions, state
        self.point = probed(state, shown, regions)
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
        pin = pinned(self.state, self.shown.size)
        if pin is not None:
            parts.append(self._placed(self._at(pin), "pin", pin))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

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
        pixels = probed_pixels(self.regions, self.point, self.region)
        scores = class_scores(self.shown, pixels)
        return pd.DataFrame({"class": list(self.shown.classes.names), **scores})

    def heard(self) -> dict[str, HeardCells]:
        """Return what the probed pixel listens to, by letter."""
        return heard_at(self.shown, self.state, self.point)

    def numbers(self) -> dict[str, Any]:
        """Return everything the page says at the probe, for a file."""
        facts = None
        if self.region:
            table = region_numbers(self.shown, self.regions)
            facts = region_facts(self.shown, self.regions, table, self.region)
        heard = self.heard()
        return {
            "point": {"x_px": self.point.x, "y_px": self.point.y},
            "profile": self.profile(),
            "scores": self.scores(),
            "region": facts,
            "region_source": self.shown.region_source,
            "disagreement_share": None if self.shown.pose else disagreement(self.shown)[1],
            "maps": _map_numbers(self.shown, self.state.mode),
            **({"listening": heard_table(heard)} if heard else {}),
        }

    def sheet(self) -> Sheet:
        """Return what the viewer shows."""
        state = self.state
        marks = marks_at(
            self.regions,
            self.point,
            pin=pinned(state, self.shown.size),
            outline=state.pick == "region",
        )
        return branch_sheet(
            self.shown,
            marks,
            mode=state.mode,
            colors=state.colors,
            difference=state.difference,
            opacity=state.opacity,
            heard=self.heard(),
        )

    def profile_csv(self) -> bytes:
        """Return the profile as a file: units in the headers, and what each row comes from."""
        profile = self.profile()
        if profile.empty:
            return csv_bytes(pd.DataFrame(columns=["place", *HEADERS.values()]))
        named = profile.rename(columns={"x": "x (px)", "y": "y (px)", **HEADERS})
        return csv_bytes(origin(named, self.shown))

    def scores_csv(self) -> bytes:
        """Return the class scores as a file."""
        names = {x: f"{x} score (0..1)" for x in LETTERS}
        if self.shown.pose:
            names = {"class": "joint"} | {x: f"{x} heat map" for x in LETTERS}
        return csv_bytes(self.scores().rename(columns=names))

    def heard_csv(self) -> bytes:
        """Return the cells that the probed pixel listens to as a file."""
        heard = self.heard()
        if not heard:
            return csv_bytes(pd.DataFrame(columns=["model", *HEARD_HEADERS.values()]))
        named = heard_table(heard).rename(columns=HEARD_HEADERS)
        named.insert(1, "x (px)", self.point.x)
        named.insert(2, "y (px)", self.point.y)
        return csv_bytes(origin(named, self.shown))

    def view_json(self) -> bytes:
        """Return the whole view as a file that ``gsto-viz export`` replays."""
        display = _display(self.shown, self.state)
        return view_json(PAGE, self.shown, self.state, self.numbers(), display)


def _display(shown: Shown, state: ViewState) -> dict[str, Any]:
    """Return how the numbers of a view are shown, in words."""
    mode = MODES[state.mode]
    return {
        "scale": state.mode,
        "scale_in_words": mode.meaning,
        "badge": RAW_BADGE if mode.raw else None,
        "reduction": REDUCTIONS[mode.raw],
        "site": shown.sites,
        "colors": state.colors,
        "interpolation": "nearest",
        "logits": "float16",
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
                    "tap": branch_tap(shown, letter, branch),
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


def _sizes(shown: Shown) -> bytes:
    return sizes_csv(shown, responses(shown.sample, shown.inspections))
