"""What the page "Scale probe" offers for download; the same functions serve the command line."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pandas as pd

from gsto_viz.explorer.checkpoints import opened
from gsto_viz.explorer.exports.figures import branch_sheet, view_files
from gsto_viz.explorer.exports.files import (
    ExportFile,
    Exports,
    Sheet,
    about_pair,
    csv_bytes,
    map_arrays,
    npz_bytes,
    paper_files,
    stem_of,
    view_json,
)
from gsto_viz.explorer.exports.view_file import DRAWN
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.values.scale_probe import (
    DrawnObject,
    Measured,
    curve_objects,
    curve_table,
    draw_object,
    drawn_of,
    measure_curves,
    moved_inside,
    object_number,
    object_regions,
    object_response,
    object_share,
)
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.network import open_network
from gsto_viz.plots import Marks
from gsto_viz.regions import PreparedRegions

PAGE = "scale-probe"
ONE = (
    "One drawn object on one background is an illustration, not an estimate: another place, look "
    "or street gives other curves."
)
SCALE = ("percentile", "inferno")
"""Normalisation and colours of the branch maps."""
Measure = Callable[[str, DrawnObject], Measured]


def object_exports(shown: Shown, state: ViewState, measure: Measure) -> Exports:
    """Return every file of a view; nothing is computed before one is made.

    Args:
        shown: Two networks on the drawn object.
        state: The view.
        measure: Returns what network A or B says of an object, for the curves.
    """
    files = [
        *view_files(shown, partial(_sheet, shown, state)),
        *paper_files(shown, *SCALE),
        ExportFile("profile.csv", "Profile (CSV)", lambda: csv_bytes(_profile(shown, state))),
        ExportFile("curves.csv", "Curves (CSV)", partial(_curves, shown, state, measure)),
        ExportFile("maps.npz", "Maps and logits (NPZ)", partial(_maps, shown)),
        ExportFile("view.json", "This view (JSON)", partial(_view_json, shown, state)),
    ]
    return Exports(stem_of(PAGE, shown, state), tuple(files))


def replayed_object(shown: Shown, regions: PreparedRegions, state: ViewState) -> Exports:
    """Return the files of a saved view; ``regions`` are those of the labels and are not used."""

    @cache
    def model(letter: str) -> Any:
        choice = shown.choices[letter]
        return opened(choice.path, choice.name)

    def measure(letter: str, drawn: DrawnObject) -> Measured:
        sample = draw_object(drawn).sample
        inspection = open_network(model(letter)).look(sample.image)
        return inspection.strides, object_response(inspection, sample)

    return object_exports(shown, state, measure)


def _sheet(shown: Shown, state: ViewState) -> Sheet:
    drawn = moved_inside(drawn_of(state))
    regions = object_regions(shown.picture.sample, shown.inspections["A"].strides)
    # The middle of a bounding box need not lie on the object itself.
    outline = regions.regions.ids == object_number(regions)
    marks = Marks(probe=(drawn.x, drawn.y), outline=outline)
    mode, colors = SCALE
    return branch_sheet(shown, marks, mode=mode, colors=colors, difference=False)


def _responses(shown: Shown, state: ViewState) -> pd.DataFrame:
    drawn = moved_inside(drawn_of(state))
    sample = shown.picture.sample
    return curve_table(
        (letter, shown.inspections[letter].strides, drawn, object_response(inspection, sample))
        for letter, inspection in shown.inspections.items()
    )


def _profile(shown: Shown, state: ViewState) -> pd.DataFrame:
    return _origin(_responses(shown, state), shown)


def _curves(shown: Shown, state: ViewState, measure: Measure) -> bytes:
    table, _ = measure_curves(curve_objects(drawn_of(state)), measure)
    return csv_bytes(_origin(table, shown))


def _origin(table: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Put units into the headers, and in front of a table what each row comes from."""
    letters = table["model"]
    named = table.rename(
        columns={
            "x": "x (px)",
            "y": "y (px)",
            "side": "size (px)",
            "stride": "stride (px)",
            "percentile": "mean percentile (0..1)",
        }
    )
    named.insert(1, "checkpoint", letters.map({k: i.name for k, i in shown.inspections.items()}))
    named.insert(2, "sha256", letters.map(shown.fingerprints))
    return named


def _maps(shown: Shown) -> bytes:
    sample = shown.picture.sample
    assert sample.instances is not None
    about = about_pair(shown) | {"note": ONE}
    return npz_bytes(map_arrays(shown) | {"object": sample.instances == 1}, about)


def _view_json(shown: Shown, state: ViewState) -> bytes:
    """Return the whole view as a file that ``gsto-viz export`` replays."""
    drawn = moved_inside(drawn_of(state))
    numbers = {
        "object": drawn,
        "responses": _responses(shown, state),
        "labelled_right": object_share(shown, shown.picture.sample, drawn.name),
    }
    display = {"note": ONE, "scale": "percentile", "site": shown.sites}
    return view_json(PAGE, shown, state, numbers, display, source=DRAWN)
