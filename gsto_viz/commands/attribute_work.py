"""What ``gsto-viz attribute`` reads, explains, writes and prints."""

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from gsto_viz.attribution import (
    Target,
    View,
    image_baseline,
    mean_baseline,
    parse_area,
    parse_intervention,
    zero_baseline,
)
from gsto_viz.attribution.areas import FORMS, Area, Mask
from gsto_viz.attribution.explain import Explanation, explain_target
from gsto_viz.attribution.interventions import branch_places
from gsto_viz.attribution.receptive import ReceptiveField, field_rows, receptive_fields
from gsto_viz.attribution.targets import Score
from gsto_viz.commands.options import size_of
from gsto_viz.data import (
    load_data,
    portable_name,
    read_image,
    read_instance_map,
    read_label_map,
    resize_image,
    resize_map,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import adopt_classes, predict
from gsto_viz.evaluate.pose import heat_maps
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.files import (
    atomic_path,
    new_folder,
    sha256_of,
    versions,
    write_json,
    write_text,
)
from gsto_viz.models.base import task_of
from gsto_viz.network import Baseline, Network
from gsto_viz.plots import save_figure
from gsto_viz.plots.attribution import figure_attribution, figure_taps
from gsto_viz.plots.attribution_paths import figure_receptive_fields
from gsto_viz.report.folder import fingerprint, plain
from gsto_viz.stats import fields_slope
from gsto_viz.text_table import text_table
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import IGNORE, Dataset
from gsto_viz.words import DEFAULT_METHODS, HEAT_MAP

OWN_FILES = (
    "maps.npz", "table.csv", "taps.csv", "paths.csv", "sanity.csv", "erf.csv", "manifest.json",
    *(f"{name}.{suffix}" for name in ("figure", "taps", "erf") for suffix in ("pdf", "png", "svg")),
)  # fmt: skip
SCHEMA_VERSION = 2
"""Version of the manifest; 1 knew neither the request nor the images of the calibration."""
MEAN_IMAGES = 64
"""Images of --calibration that the dataset mean is taken over."""


class Work:
    """One run of the command: what was read, and what is made of it."""

    def __init__(self, args: argparse.Namespace, network: Network) -> None:
        self.args, self.network = args, network
        self.model = model = network.module
        area = parse_area(args.target)
        self.changes = [parse_intervention(model, text) for text in args.change]
        self.methods = tuple(dict.fromkeys(args.method or DEFAULT_METHODS))
        self.size = size_of(args)
        self.calibration = None
        if args.calibration:
            self.calibration = load_data(args.calibration, purpose="eval", size=self.size)
            adopt_classes(model, self.calibration)
        image = read_image(args.image)
        self.native = image.shape[:2]
        self.image = image if self.size is None else resize_image(image, self.size)
        self.area = self._resized_mask(area)
        self.pixels = self.tensor(self.image)
        self.pose = task_of(model) == "pose"
        self.score: Score = args.score or ("mean" if self.pose else "margin")
        self.view = self._view()

    def _view(self) -> View:
        """Run the network, and return what areas refer to."""
        assert self.network.classes is not None  # every file says its classes
        names = self.network.classes.names
        if self.pose:
            if self.args.labels:
                raise GstoVizError(
                    "--labels is for networks that predict the classes of pixels; of a network for "
                    "pose give the box of a person with the joint, as in 'joint:nose:X0,Y0,X1,Y1'"
                )
            with eval_mode(self.model):
                (maps,) = heat_maps(self.model, [self.image])
            nothing = np.full(self.image.shape[:2], IGNORE, dtype=np.uint8)
            return View(nothing, names, heat_maps=maps)
        with eval_mode(self.model):
            prediction = predict(self.model, self.image)
        return View(prediction, names, *self._annotation(len(names)))

    def _resized_mask(self, area: Area) -> Area:
        """Bring a mask of the native image to the size of --size; other areas stay."""
        if isinstance(area, Mask) and self.size and area.pixels.shape == tuple(self.native):
            return replace(area, pixels=resize_map(area.pixels, self.size))
        return area

    @property
    def mean_images(self) -> int:
        """How many images of --calibration the dataset mean is taken over, the first ones."""
        return 0 if self.calibration is None else min(len(self.calibration), MEAN_IMAGES)

    def _annotation(self, num_classes: int) -> tuple[Any, Any]:
        """Read labels and instances at the size of the image."""
        args = self.args
        for option in ("instances", "ignore"):
            if getattr(args, option) is not None and not args.labels:
                raise GstoVizError(f"--{option} needs --labels; give both")
        if not args.labels:
            return None, None
        maps: dict[str, Any] = {
            "--labels": read_label_map(
                args.labels, num_classes=num_classes, source_ignore=args.ignore
            )
        }
        if args.instances:
            maps["--instances"] = read_instance_map(args.instances)
        for option, one in maps.items():
            if one.shape != tuple(self.native):
                raise GstoVizError(
                    f"{option}: the map has {one.shape[0]}x{one.shape[1]} pixels and the image "
                    f"{self.native[0]}x{self.native[1]}; give the annotation of this image"
                )
        labels, *instances = (resize_map(one, self.image.shape[:2]) for one in maps.values())
        return labels, instances[0] if instances else None

    def tensor(self, image: Any) -> Tensor:
        """Normalise an image for the network, (1, 3, H, W) on its device."""
        return input_batch(self.model, image)

    def baselines(self) -> list[Baseline]:
        """Return the baselines: a mean, zero, and another image where one is given."""
        model, head, data = self.model, self.args.head, self.calibration
        if data is None:
            found = [mean_baseline(model, [self.pixels], head, name="mean of this image")]
        else:
            images = (self.tensor(data[k].image) for k in range(self.mean_images))
            name = f"mean of {self.mean_images} images"
            found = [mean_baseline(model, images, head, name=name)]
        found.append(zero_baseline(model, head))
        if self.args.other:
            size = (self.image.shape[0], self.image.shape[1])
            other = self.tensor(resize_image(read_image(self.args.other), size))
            found.append(image_baseline(model, other, head, name="another image"))
        return found

    def explain(self) -> Explanation:
        """Run every method."""
        args = self.args
        return explain_target(
            self.model,
            self.pixels,
            self.view,
            Target(self.area, self.score, args.head),
            self.baselines(),
            methods=self.methods,
            taps=args.tap,
            steps=args.steps,
            budget=round(args.memory * 2**30),
            changes=self.changes,
            sanity=args.sanity,
            seed=args.seed,
            announce=self.say,
        )

    def say(self, sentence: str) -> None:
        """Write a message to stderr, unless --quiet."""
        if not self.args.quiet:
            sys.stderr.write(f"integrating: {sentence}\n")

    def receptive_fields(self, explained: Explanation) -> dict[str, list[ReceptiveField]]:
        """Measure what the branches see at the target's middle pixel, by condition."""
        pixel = middle_pixel(explained.outline)
        gates = self.network.anatomy.gates
        states = {", gated": True, ", gates open": False} if gates else {"": True}
        return {
            f"{site} the last fusion{state}": receptive_fields(
                self.model,
                self.pixels,
                [pixel],
                branch_places(self.model, site),
                gated=gated,
                gains=self.network.gains,
                seed=self.args.seed,
            )
            for site in ("before", "after")
            if branch_places(self.model, site)
            for state, gated in states.items()
        }

    def write(self, explained: Explanation, fields: Mapping[str, Sequence[ReceptiveField]]) -> None:
        """Write the folder, the manifest last; whole or not at all."""
        name, taps = Path(self.args.image).name, explained.taps
        tables = {
            "table": explained.branches,
            "paths": explained.paths,
            "sanity": explained.sanity,
            "taps": None if taps is None else taps.table,
            "erf": fields_table(fields, name) if fields else None,
        }
        with new_folder(Path(self.args.out), OWN_FILES, overwrite=self.args.overwrite) as folder:
            with atomic_path(folder / "maps.npz") as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **all_maps(explained))
            for stem, table in tables.items():
                if table is not None:
                    write_text(folder / f"{stem}.csv", table.to_csv(index=False))
            for stem, figure in self.figures(explained, fields).items():
                save_figure(figure, folder / stem)
            write_json(folder / "manifest.json", manifest(self, explained, fields))

    def figures(
        self, explained: Explanation, fields: Mapping[str, Sequence[ReceptiveField]]
    ) -> dict[str, Any]:
        """Draw what was explained; by the name of the file."""
        seen = self.image, explained.outline
        words: dict[str, Any] = {
            "title": f"{explained.target}: {explained.score:.3f}",
            "score": HEAT_MAP if self.pose else self.score,
        }
        tables = {"branches": explained.branches, "paths": explained.paths}
        if explained.sanity is not None:
            tables["sanity"] = explained.sanity
        figure = figure_attribution(
            *seen,
            explained.maps,
            explained.map_strides,
            tables,
            strides=explained.strides,
            **words,
        )
        found = {"figure": figure}
        if explained.taps is not None:
            found["taps"] = figure_taps(
                *seen, explained.taps.maps, explained.taps.strides, sanity=explained.sanity, **words
            )
        if fields:
            rows = list(fields.items())
            found["erf"] = figure_receptive_fields(*seen, rows, title=explained.target)
        return found


def middle_pixel(outline: npt.NDArray[np.integer]) -> tuple[int, int]:
    """Return x and y of the pixel of a target's first group that lies nearest to its centroid."""
    cells = np.argwhere(outline == 1)
    middle = cells[np.argmin(((cells - cells.mean(axis=0)) ** 2).sum(axis=1))]
    return int(middle[1]), int(middle[0])


def field_slopes(fields: Mapping[str, Sequence[ReceptiveField]]) -> dict[str, float]:
    """Return the slope of log2 size on log2 stride of each condition's fields."""
    return {name: fields_slope(row) for name, row in fields.items()}


def fields_table(fields: Mapping[str, Sequence[ReceptiveField]], image: str) -> pd.DataFrame:
    """Return one row per field, with its condition and the slope of that condition."""
    slopes = field_slopes(fields)
    return pd.concat(
        field_rows(row, image).assign(condition=key, slope=slopes[key], slope_n=len(row))
        for key, row in fields.items()
    )


def manifest(
    work: Work, explained: Explanation, fields: Mapping[str, Sequence[ReceptiveField]]
) -> dict[str, Any]:
    """Return the manifest: inputs by SHA-256, the request, the checks, the versions.

    No path of this machine is in it.
    """
    args = work.args
    files = {
        "labels": args.labels,
        "instances": args.instances,
        "mask": mask_file(args.target),
        "other": args.other,
    }
    erf = {
        "pixel": list(middle_pixel(explained.outline)),
        "slopes": {
            name: slope if math.isfinite(slope) else None
            for name, slope in field_slopes(fields).items()
        },
        "slope_n": len(explained.strides),
        "slope_unit": "log2 size on log2 stride, a line through the branches at one pixel",
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "target": explained.target,
        "score": explained.score,
        "score_unit": f"{HEAT_MAP if work.pose else 'logits'}, on the grid of the logits, cells "
        "weighted by pixels",
        "regions_from": work.view.source,
        "checkpoint": work.network.weights_record(),
        "image": {
            **_file(args.image),
            "native_size": list(work.native),
            "input_size": list(work.image.shape[:2]),
        },
        **{key: None if path is None else _file(path) for key, path in files.items()},
        "calibration": calibration_record(work.calibration, work.mean_images),
        "request": _request(work),
        "baselines": explained.branches["baseline"].drop_duplicates().tolist(),
        "strides": list(explained.strides),
        "maps": {name: list(one.shape) for name, one in all_maps(explained).items()},
        "map_strides": explained.map_strides
        | ({} if explained.taps is None else explained.taps.strides),
        "erf": erf if fields else None,
        "checks": {
            "sum_error": explained.sum_error,
            "efficiency_error": explained.efficiency_error,
        },
        "versions": versions() | {"captum": metadata.version("captum")},
    }


def _request(work: Work) -> dict[str, Any]:
    """Return what was asked for, defaults filled in."""
    args = work.args
    return {
        "score": work.score,
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
    }


def calibration_record(data: Dataset | None, count: int) -> dict[str, Any] | None:
    """Return which images the dataset mean is taken over.

    Args:
        data: The data set of ``--calibration``; None when it was not given.
        count: How many of its images, the first ones, are used.

    Returns:
        ``data`` (name and split, without its folder), ``images`` and ``ids_sha256``.
    """
    if data is None:
        return None
    return {
        "data": portable_name(data.name),
        "images": count,
        "ids_sha256": fingerprint(tuple(data.ids[:count])),
    }


def mask_file(target: str) -> str | None:
    """Return the file of a target ``mask:FILE``; None for other targets."""
    found = re.fullmatch(f"mask:{FORMS['mask'].pattern}", target, re.DOTALL)
    return found and found[1]


def _file(path: str) -> dict[str, str]:
    """Return name and SHA-256 of a file."""
    return {"name": Path(path).name, "sha256": sha256_of(path)}


def all_maps(explained: Explanation) -> dict[str, Any]:
    """Return the maps of the head and those beside it by name."""
    return explained.maps | ({} if explained.taps is None else explained.taps.maps)


def table_rows(
    explained: Explanation, fields: Mapping[str, Sequence[ReceptiveField]]
) -> list[dict[str, Any]]:
    """Return the table of branches as rows that JSON can hold.

    Args:
        explained: One target.
        fields: By condition, one receptive field per branch; each condition becomes a row
            ``erf_px`` with its ``condition``, ``branch_{r}`` (px) and ``slope``.
    """
    rows: list[dict[str, Any]] = plain(explained.branches)
    slopes = field_slopes(fields)
    for name, row in fields.items():
        sizes = {f"branch_{r}": field.erf_px for r, field in enumerate(row)}
        rows.append({"method": "erf_px", "condition": name, **sizes, "slope": slopes[name]})
    return rows


def as_text(
    explained: Explanation, fields: Mapping[str, Sequence[ReceptiveField]] | None = None
) -> str:
    """Lay out the result for the screen: branches, the paths that matter most, the checks."""
    strides = {f"/{stride}": f"branch_{r}" for r, stride in enumerate(explained.strides)}
    heads = {"method": "method", "absent branches": "baseline", **strides}
    heads |= {"sum": "sum", "expected": "expected"}
    lines = [
        f"{explained.target}: {explained.score:.4f}",
        "",
        *_table(plain(explained.branches), heads),
        "",
        *_table(
            _paths_to_show(explained.paths),
            {"closed path": "place", "value": "value", "score": "score", "drop": "drop"},
        ),
        "",
        f"branch split against the network's logits: {explained.sum_error:.1e} (relative); "
        f"Shapley values against the change of the score: {explained.efficiency_error:.1e}",
        *explained.notes,
    ]
    if explained.taps is not None:
        heads = {key: key for key in ("method", "tap", "stride", "total", "delta", "infidelity")}
        lines += ["", *_table(plain(explained.taps.table), heads)]
    if explained.sanity is not None:
        heads = {key: key for key in ("check", "subject", "value")}
        lines += ["", *_table(explained.sanity.to_dict("records"), heads, ".3f")]
    if fields:
        lines += ["", *_fields_lines(fields, list(strides))]
    return "\n".join(lines) + "\n"


def _table(
    rows: Sequence[Mapping[Any, Any]], columns: Mapping[str, str], form: str = ".4g"
) -> list[str]:
    """Lay out some columns, by head, of a table; words left, numbers in a form."""
    heads, keys = list(columns), columns.values()
    cells = [
        [one if isinstance(one, str | None) else format(one, form) for one in map(row.get, keys)]
        for row in rows
    ]
    return text_table([heads, *cells], "<<>")


def _paths_to_show(paths: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the changes that were asked for, then the eight closed paths that move most."""
    asked = paths["kind"] == "asked"
    closed = paths[~asked]
    order = closed["drop"].abs().sort_values(ascending=False, kind="stable").index
    return [*paths[asked].to_dict("records"), *closed.loc[order].head(8).to_dict("records")]


def _slope(slope: float) -> str:
    return f"{slope:.2f}" if math.isfinite(slope) else "-"


def _fields_lines(
    fields: Mapping[str, Sequence[ReceptiveField]], strides: Sequence[str]
) -> list[str]:
    """Lay out effective receptive fields: their sizes, and how these follow the stride."""
    slopes = field_slopes(fields)
    rows = [["effective receptive field, px", *strides, "slope"]]
    for name, row in fields.items():
        rows.append([name, *(f"{field.erf_px:.1f}" for field in row), _slope(slopes[name])])
    note = "slope: of log2 size on log2 stride; 1 as in a pyramid, 0 all branches see alike"
    return [*text_table(rows), note]
