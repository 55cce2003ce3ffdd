"""What the results of ``gsto-viz attribute`` depend on: its ``manifest.json``."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gsto_viz.attribution.explain import Explanation
    from gsto_viz.attribution.receptive import ReceptiveField
    from gsto_viz.commands.attribute_work import Work
    from gsto_viz.types import Dataset

SCHEMA_VERSION = 2
"""Of the manifest; 1 knew neither the request nor the images of the calibration."""


def manifest(
    work: "Work",
    explained: "Explanation",
    fields: "Mapping[str, Sequence[ReceptiveField]] | None",
) -> dict[str, Any]:
    """Return the manifest: inputs by SHA-256, the request, the checks, the versions.

    No path of this machine is in it.
    """
    from gsto_viz.inspection import weights_record
    from gsto_viz.versions import versions

    args = work.args
    return {
        "schema_version": SCHEMA_VERSION,
        "target": explained.target,
        "score": explained.score,
        "score_unit": "logits, on the grid of the logits, cells weighted by pixels",
        "regions_from": work.view.source,
        "checkpoint": weights_record(work.model),
        "image": {
            **_file(args.image),
            "native_size": list(work.native),
            "input_size": list(work.image.shape[:2]),
        },
        "labels": _given(args.labels),
        "instances": _given(args.instances),
        "mask": _given(mask_file(args.target)),
        "other": _given(args.other),
        "calibration": calibration_record(work.calibration, work.mean_images),
        "request": _request(work),
        "baselines": explained.branches["baseline"].drop_duplicates().tolist(),
        "strides": list(explained.strides),
        "maps": {name: list(one.shape) for name, one in all_maps(explained).items()},
        "map_strides": explained.map_strides
        | ({} if explained.taps is None else explained.taps.strides),
        "erf": None if fields is None else _erf(explained, fields),
        "checks": {
            "sum_error": explained.sum_error,
            "efficiency_error": explained.efficiency_error,
        },
        "versions": versions() | {"captum": metadata.version("captum")},
    }


def _request(work: "Work") -> dict[str, Any]:
    """Return what was asked for, defaults filled in."""
    from gsto_viz.commands.official_options import official_options

    args = work.args
    return {
        "score": args.score,
        "head": args.head,
        "methods": list(work.methods),
        "taps": list(args.tap),
        "changes": list(args.change),
        "ignore": args.ignore,
        "steps": args.steps,
        "memory_gib": args.memory,
        "sanity": args.sanity,
        "erf": args.erf,
        "seed": args.seed,
        "device": str(work.pixels.device),
        "official_file": official_options(args),
    }


def _erf(
    explained: "Explanation", fields: "Mapping[str, Sequence[ReceptiveField]]"
) -> dict[str, Any]:
    """Return where effective receptive fields were measured, and how they follow the stride."""
    from gsto_viz.commands.attribute_work import field_slopes, middle_pixel

    return {
        "pixel": list(middle_pixel(explained.outline)),
        "slopes": field_slopes(fields),
        "slope_n": len(explained.strides),
        "slope_unit": "log2 size on log2 stride, a line through the branches at one pixel",
    }


def calibration_record(data: "Dataset | None", count: int) -> dict[str, Any] | None:
    """Return which images the dataset mean is taken over.

    Args:
        data: The data set of ``--calibration``; None when it was not given.
        count: How many of its images, the first ones, are used.

    Returns:
        ``data`` (name and split, without its folder), ``images`` and ``ids_sha256``.
    """
    from gsto_viz.report.settings import fingerprint
    from gsto_viz.train.identity import portable_name

    if data is None:
        return None
    return {
        "data": portable_name(data.name),
        "images": count,
        "ids_sha256": fingerprint(tuple(data.ids[:count])),
    }


def mask_file(target: str) -> str | None:
    """Return the file of a target ``mask:FILE``; None for other targets."""
    kind, _, rest = target.partition(":")
    return rest if kind == "mask" else None


def _given(path: str | None) -> dict[str, str] | None:
    """Return name and SHA-256 of a file; None where none was given."""
    return None if path is None else _file(path)


def _file(path: str) -> dict[str, str]:
    """Return name and SHA-256 of a file."""
    from gsto_viz.files import sha256_of

    return {"name": Path(path).name, "sha256": sha256_of(path)}


def all_maps(explained: "Explanation") -> dict[str, Any]:
    """Return the maps of the head and those beside it by name."""
    return explained.maps | ({} if explained.taps is None else explained.taps.maps)
