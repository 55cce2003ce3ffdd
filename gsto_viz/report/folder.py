"""The folder of an analysis: begin, resume, finish, and what it may hold."""

import json
import shutil
from pathlib import Path
from typing import Any

from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text, write_json
from gsto_viz.folders import check_target
from gsto_viz.report.chunks import PARTS
from gsto_viz.report.settings import Settings, check_same, check_schema

SETTINGS, SUMMARY, MANIFEST, GAINS = (
    "settings.json",
    "summary.json",
    "manifest.json",
    "gains.safetensors",
)
OWN_ENTRIES = (
    SETTINGS,
    SUMMARY,
    MANIFEST,
    GAINS,
    PARTS,
    "regions.parquet",
    "images.parquet",
    "values.parquet",
    "classes.parquet",
    "confusion.parquet",
    "gates.parquet",
    "profile.parquet",
    "random.parquet",
    "moved.parquet",
    "layout.parquet",
    "transfer.parquet",
    "examples",
    "comparison.json",
    "comparison.csv",
    "specification.csv",
    "figures",
    "report.html",
)
"""Everything that an analyze folder can hold; a folder with anything else is somebody else's."""
MAX_SUMMARY_BYTES = 256 * 2**20


def check_free(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse an ``--out`` that is taken, before any work is done.

    Raises:
        GstoVizError: It holds something, and neither resuming nor overwriting was asked for.
    """
    if resume and overwrite:
        raise GstoVizError("resume and overwrite exclude each other; choose one")
    if resume and out.is_dir() and any(out.iterdir()):
        if not (out / SETTINGS).is_file():
            raise GstoVizError(
                f"{out} holds no analysis that could be resumed; choose another place"
            )
        return
    check_target(out, OWN_ENTRIES, overwrite=overwrite)


def begin(out: Path, settings: Settings, *, resume: bool, overwrite: bool) -> None:
    """Make the folder of an analysis, or check that it can be resumed.

    Raises:
        GstoVizError: It is taken, or was begun with other settings.
    """
    check_free(out, resume=resume, overwrite=overwrite)
    if resume and (out / SETTINGS).is_file():
        check_same(settings, read_json(out / SETTINGS), str(out))
        return
    if overwrite and out.is_dir():
        # The manifest goes first: without it the folder is no result any more.
        (out / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(out)
    write_json(out / SETTINGS, settings.to_json())


def is_finished(out: Path) -> bool:
    """Say whether an analysis is complete."""
    return (out / MANIFEST).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that this package wrote.

    Raises:
        GstoVizError: Missing or damaged.
    """
    text = read_small_text(path, "the analysis file", max_bytes=MAX_SUMMARY_BYTES)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GstoVizError(f"{path} is damaged ({error}); analyze the data again") from error
    if not isinstance(values, dict):
        raise GstoVizError(f"{path} is damaged: it holds no object; analyze the data again")
    return values


def open_finished(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return manifest and summary of a finished analysis.

    Raises:
        GstoVizError: No such folder, an analysis that is not finished, or another version.
    """
    if not out.is_dir():
        raise GstoVizError(f"no folder {out}; make one with gsto-viz analyze --out {out}")
    if not is_finished(out):
        hint = (
            "resume it with gsto-viz analyze --resume"
            if (out / SETTINGS).is_file()
            else ("give the --out of gsto-viz analyze")
        )
        raise GstoVizError(f"{out} holds no finished analysis; {hint}")
    manifest = read_json(out / MANIFEST)
    check_schema(manifest, str(out))
    return manifest, read_json(out / SUMMARY)
