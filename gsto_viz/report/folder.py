"""The analyze folder: settings, how it is begun and opened, and results as strict JSON and back."""

import hashlib
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.files import (
    check_creatable,
    check_target,
    read_small_text,
    remove_leftovers,
    write_json,
)
from gsto_viz.report.tables import PARTS, TABLES
from gsto_viz.stats.inference import P_FLOOR, Estimate
from gsto_viz.stats.nulls import Null

SCHEMA_VERSION = 1
"""Version of analyze folders; a folder of another version is refused."""

CALIBRATION_IMAGES = 64
"""Gains are measured on the first so many images by id."""
MAX_REGIONS = 256
"""Rows of one image and model."""
SHIFTS = 10
"""Draws of N1 (shifted annotation) per image."""
PERMUTATIONS = 10
"""Draws of N4 (permuted sizes)."""
RANDOM_DRAWS = 5
"""Draws of N3 (random weights)."""
DOUBLED = 1.0
"""STP is read where objects are one octave larger: the step between neighbouring branches."""
RESIZED, BLURRED = "resized", "blurred"
"""Values of ``kind`` in rows of scale transfer; those of null models are named after them."""
CHUNK_IMAGES = 8
"""Images that are measured and written together; also one row group."""


@dataclass(frozen=True)
class Settings:
    """All that decides what an analysis computes.

    Attributes:
        data: SPEC of the images.
        size: ``HxW`` to which images were resized, None for their native size.
        images: How many, after the limit.
        ids_sha256: Fingerprint of their ids.
        calibration: SPEC of the images whose first 64 by id give the gains.
        models: By key, what the network is (name, network, sha256, taps, strides).
        nulls: Whether null models are computed: all of them, none, or those named.
        attribution: Whether Shapley values and scale transfer are computed.
        atlas: Whether the features of the branches are described.
        seed: Of nulls, bootstrap and reservoir.
        random_draws: Draws of N3.
        shifts: Draws of N1.
        max_regions: Rows kept of one image and model.
        block: Consecutive images of a film that make one cluster; None: as the data set says.
    """

    data: str
    size: str | None
    images: int
    ids_sha256: str
    calibration: str
    models: dict[str, dict[str, Any]]
    nulls: bool | list[str] = False
    attribution: bool = False
    atlas: bool = False
    seed: int = 0
    random_draws: int = RANDOM_DRAWS
    shifts: int = SHIFTS
    max_regions: int = MAX_REGIONS
    block: int | None = None

    def has_null(self, name: str) -> bool:
        """Return whether a null model is computed."""
        return self.nulls is True or (self.nulls is not False and name in self.nulls)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the version of the folder's schema."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def fingerprint(ids: tuple[str, ...]) -> str:
    """Return the SHA-256 of ids in their order."""
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def check_schema(values: dict[str, Any], where: str) -> None:
    """Refuse a folder that another version wrote.

    Raises:
        GstoVizError: With both versions.
    """
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise GstoVizError(
            f"{where} is an analyze folder of schema version {version}, this is version "
            f"{SCHEMA_VERSION}; analyze the data again with this version of gsto-viz"
        )


def check_same(settings: Settings, values: dict[str, Any], where: str) -> None:
    """Refuse to resume an analysis with other settings.

    Raises:
        GstoVizError: With the first setting that differs.
    """
    check_schema(values, where)
    # Settings that a version added later have their default in folders from before.
    values = {field.name: field.default for field in fields(Settings)} | values
    for name, value in settings.to_json().items():
        other_order = name == "models" and list(values.get(name, ())) != list(value)
        if values.get(name) != value or other_order:
            raise GstoVizError(
                f"{where} was begun with {name}={values.get(name)!r} and now {name} is {value!r}; "
                "use the same settings, another folder, or --overwrite"
            )


SETTINGS, SUMMARY, MANIFEST, GAINS = (
    "settings.json",
    "summary.json",
    "manifest.json",
    "gains.safetensors",
)
EXAMPLES = "examples"
"""Folder of the images that are kept with all that the networks show for them."""
OWN_ENTRIES = (
    SETTINGS,
    SUMMARY,
    MANIFEST,
    GAINS,
    PARTS,
    *(f"{name}.parquet" for name in TABLES),
    EXAMPLES,
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
    check_creatable(out, inside=True)


def begin(out: Path, settings: Settings, *, resume: bool, overwrite: bool) -> None:
    """Make the folder of an analysis, or check that it can be resumed.

    Raises:
        GstoVizError: It is taken, or was begun with other settings.
    """
    check_free(out, resume=resume, overwrite=overwrite)
    if resume and (out / SETTINGS).is_file():
        check_same(settings, read_json(out / SETTINGS), str(out))
        remove_leftovers(out, OWN_ENTRIES)
        remove_leftovers(out / EXAMPLES, ["*.npz"])
        return
    if overwrite and out.is_dir():
        # The manifest goes first: without it the folder is no longer a result.
        (out / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(out)
    write_json(out / SETTINGS, settings.to_json())


def is_finished(out: Path) -> bool:
    """Return whether an analysis is complete."""
    return (out / MANIFEST).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that this package wrote.

    Raises:
        GstoVizError: Missing or damaged.
    """
    text = read_small_text(path, "the analysis file", max_bytes=MAX_SUMMARY_BYTES)
    try:
        values = json.loads(text, object_hook=typed)
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


@dataclass(frozen=True)
class WithNulls:
    """An index of one network beside its null models, by name."""

    estimate: Estimate
    nulls: Mapping[str, Null]


def plain(value: Any) -> Any:
    """Turn results into what strict JSON can hold; :func:`typed` reads estimates back.

    Dataclasses become objects, tables lists of rows, arrays lists; NaN and infinity become null.
    The ``nulls`` of an index, and the ``draws`` of a null model, stand beside the fields of its
    estimate.
    """
    if isinstance(value, WithNulls):
        return plain(value.estimate) | {"nulls": plain(value.nulls)}
    if isinstance(value, Null):
        return plain(value.estimate) | {"draws": plain(value.values)}
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, pd.DataFrame):
        return plain(value.astype(object).to_dict("records"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if value is pd.NA or value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def typed(values: dict[str, Any]) -> Any:
    """Return the estimate, null model or index that :func:`plain` wrote as an object."""
    more = values.keys() - ESTIMATE
    if not values.keys() >= ESTIMATE or more not in (set(), {"nulls"}, {"draws"}):
        return values
    own = Estimate(**{name: values[name] for name in ESTIMATE})
    if "nulls" in more:
        return WithNulls(own, values["nulls"])
    return Null(tuple(values["draws"]), own) if "draws" in more else own


ESTIMATE = {one.name for one in fields(Estimate)}


def shown(estimate: Estimate, digits: int = 3) -> str:
    """Write an estimate for people: ``0.412 [0.380, 0.447]``, or why there is none."""
    if estimate.value is None:
        return estimate.reason or "not estimated"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} (no interval: {estimate.reason})"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def shown_p(p: float | None, tested: float | None = None) -> str:
    """Write a p value for people: ``0.0123``; ``<= 0.0001`` at the floor of the test.

    Args:
        p: Of a sign-flip test, adjusted or not; None or NaN, written ``-``: not estimated.
        tested: p before it was adjusted, where it was: what rests on a floor is a bound, too.
    """
    if p is None or math.isnan(p):
        return "-"
    bound = (p if tested is None else tested) <= P_FLOOR
    return f"<= {p:.4f}" if bound else f"{p:.4f}"


_BLOCK = "/block"
"""Groups of frames are called ``FILM/blockN``."""


def clusters_of(images: pd.DataFrame, block: int | None) -> dict[str, str]:
    """Return the cluster of every image.

    Args:
        images: ``image`` and ``group``, the group that the data set gave it (its own name when it
            is independent of all others), one row or several for each image.
        block: So many consecutive images of a film, in the order of their names, make a cluster
            instead. Images with a name of their own as group are then frames of one film. None
            keeps the groups.
    """
    groups = dict(zip(images["image"], images["group"], strict=True))
    if block is None:
        return groups
    films: dict[str, list[str]] = defaultdict(list)
    for image in sorted(groups):
        film, mark, _ = groups[image].rpartition(_BLOCK)
        films[film if mark else ("" if groups[image] == image else groups[image])].append(image)
    return {
        image: f"{film}{_BLOCK}{position // block}"
        for film, frames in films.items()
        for position, image in enumerate(frames)
    }
