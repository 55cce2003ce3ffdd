"""What ``gsto-viz attribute`` reads, explains, writes and prints."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsto_viz.text_table import text_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from torch import Tensor

    from gsto_viz.attribution.explain import Explanation
    from gsto_viz.attribution.head import Baseline
    from gsto_viz.attribution.places import Place
    from gsto_viz.attribution.receptive import ReceptiveField
    from gsto_viz.models import HRNet
    from gsto_viz.types import Dataset


OWN_FILES = (
    "maps.npz", "table.csv", "taps.csv", "paths.csv", "sanity.csv", "erf.csv", "manifest.json",
    *(f"{name}.{suffix}" for name in ("figure", "taps", "erf") for suffix in ("pdf", "png", "svg")),
)  # fmt: skip
MEAN_IMAGES = 64
"""Images of --calibration that the dataset mean is taken over."""


class Work:
    """One run of the command: what was read, and what is made of it."""

    def __init__(self, args: argparse.Namespace, model: "HRNet") -> None:
        from gsto_viz.attribution import View, parse_intervention, parse_place
        from gsto_viz.attribution.explain import METHODS
        from gsto_viz.data import parse_size, read_image
        from gsto_viz.evaluate import predict
        from gsto_viz.torch_utils import eval_mode

        self.args, self.model = args, model
        place = parse_place(args.target)
        self.changes = [parse_intervention(model, text) for text in args.change]
        self.methods = tuple(dict.fromkeys(args.method or METHODS))
        self.size = parse_size(args.size) if args.size else None
        self.calibration = self._calibration()
        image = read_image(args.image)
        self.native = image.shape[:2]
        self.image = self.resized(image)
        self.place = self._resized_mask(place)
        with eval_mode(model):
            prediction = predict(model, self.image)
        info = model.info
        names = (
            tuple(str(k) for k in range(model.config.num_classes))
            if info is None
            else info.classes.names
        )
        self.view = View(prediction, names, *self._annotation(len(names)))
        self.pixels = self.tensor(self.image)

    def resized(self, image: Any) -> Any:
        """Bring an image to the size of --size, or leave it."""
        from gsto_viz.data import resize_image

        return image if self.size is None else resize_image(image, self.size)

    def _resized_mask(self, place: "Place") -> "Place":
        """Bring a mask of the native image to the size of --size; other places stay."""
        from gsto_viz.attribution.places import Mask
        from gsto_viz.data import resize_map

        if isinstance(place, Mask) and self.size and place.pixels.shape == tuple(self.native):
            return replace(place, pixels=resize_map(place.pixels, self.size))
        return place

    def _calibration(self) -> "Dataset | None":
        """Return the data set of --calibration, its images at the size of --size."""
        from gsto_viz.data import load_data

        spec = self.args.calibration
        return load_data(spec, purpose="eval", size=self.size) if spec else None

    @property
    def mean_images(self) -> int:
        """How many images of --calibration the dataset mean is taken over, the first ones."""
        return 0 if self.calibration is None else min(len(self.calibration), MEAN_IMAGES)

    def _annotation(self, num_classes: int) -> tuple[Any, Any]:
        """Read labels and instances at the size of the image."""
        from gsto_viz.data import read_instance_map, read_label_map, resize_map
        from gsto_viz.errors import GstoVizError

        args = self.args
        for option in ("instances", "ignore"):
            if getattr(args, option) is not None and not args.labels:
                raise GstoVizError(f"--{option} needs --labels; give both")
        if not args.labels:
            return None, None
        maps: list[Any] = [
            read_label_map(args.labels, num_classes=num_classes, source_ignore=args.ignore)
        ]
        if args.instances:
            maps.append(read_instance_map(args.instances))
        for option, one in zip(("--labels", "--instances"), maps, strict=False):
            if one.shape != tuple(self.native):
                raise GstoVizError(
                    f"{option}: the map has {one.shape[0]}x{one.shape[1]} pixels and the image "
                    f"{self.native[0]}x{self.native[1]}; give the annotation of this image"
                )
        size = self.image.shape[:2]
        resized = [resize_map(one, size) for one in maps]
        return resized[0], resized[1] if args.instances else None

    def tensor(self, image: Any) -> "Tensor":
        """Normalise an image for the network, (1, 3, H, W) on its device."""
        from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD, image_to_tensor

        info = self.model.info
        mean, std = (info.mean, info.std) if info else (IMAGENET_MEAN, IMAGENET_STD)
        batch = image_to_tensor(image, mean, std)[None]
        return batch.to(next(self.model.parameters()).device)

    def baselines(self) -> "list[Baseline]":
        """Return the baselines: a mean, zero, and another image where one is given."""
        from gsto_viz.attribution import image_baseline, mean_baseline, zero_baseline
        from gsto_viz.data import read_image, resize_image

        head = self.args.head
        data = self.calibration
        if data is not None:
            images = (self.tensor(data[k].image) for k in range(self.mean_images))
            name = f"mean of {self.mean_images} images"
            found = [mean_baseline(self.model, images, head, name=name)]
        else:
            found = [mean_baseline(self.model, [self.pixels], head, name="mean of this image")]
        found.append(zero_baseline(self.model, head))
        if self.args.other:
            size = (self.image.shape[0], self.image.shape[1])
            other = self.tensor(resize_image(read_image(self.args.other), size))
            found.append(image_baseline(self.model, other, head, name="another image"))
        return found

    def explain(self) -> "Explanation":
        """Run every method."""
        from gsto_viz.attribution import Target
        from gsto_viz.attribution.explain import explain_target

        args = self.args
        return explain_target(
            self.model,
            self.pixels,
            self.view,
            Target(self.place, args.score, args.head),
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

    def receptive_fields(self, explained: "Explanation") -> "dict[str, list[ReceptiveField]]":
        """Measure what the branches see at the target's middle pixel."""
        from gsto_viz.attribution.interventions import branch_paths
        from gsto_viz.attribution.receptive import receptive_fields

        pixel = middle_pixel(explained.outline)
        rows = {}
        for site in ("before", "after"):
            for gated in (True, False) if self.model.config.gating else (True,):
                name = f"{site} the last fusion"
                if self.model.config.gating:
                    name += ", gated" if gated else ", gates open"
                rows[name] = receptive_fields(
                    self.model,
                    self.pixels,
                    [pixel],
                    branch_paths(self.model, site),
                    gated=gated,
                    gains=None if self.model.info is None else self.model.info.gains,
                    seed=self.args.seed,
                )
        return rows

    def fields_table(self, fields: "Mapping[str, Sequence[ReceptiveField]]") -> "pd.DataFrame":
        """Return one row per field, with its condition and the slope of that condition."""
        import pandas as pd

        from gsto_viz.attribution.receptive import field_rows

        name, slopes = Path(self.args.image).name, field_slopes(fields)
        frames = [
            field_rows(row, name).assign(condition=key, slope=slopes[key], slope_n=len(row))
            for key, row in fields.items()
        ]
        return pd.concat(frames)

    def write(
        self, explained: "Explanation", fields: "dict[str, list[ReceptiveField]] | None"
    ) -> None:
        """Write the folder, the manifest last; whole or not at all."""
        import numpy as np

        from gsto_viz.files import atomic_path, new_folder, write_json, write_text
        from gsto_viz.plots import save_figure
        from gsto_viz.plots.attribution import figure_attribution, figure_taps
        from gsto_viz.plots.attribution_paths import figure_receptive_fields

        figure = figure_attribution(
            self.image,
            explained.outline,
            explained.maps,
            explained.map_strides,
            explained.branches,
            explained.paths,
            strides=explained.strides,
            title=f"{explained.target}: {explained.score:.3f}",
            score=self.args.score,
            sanity=explained.sanity,
        )
        with new_folder(Path(self.args.out), OWN_FILES, overwrite=self.args.overwrite) as work:
            with atomic_path(work / "maps.npz") as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **all_maps(explained))
            write_text(work / "table.csv", explained.branches.to_csv(index=False))
            write_text(work / "paths.csv", explained.paths.to_csv(index=False))
            if explained.sanity is not None:
                write_text(work / "sanity.csv", explained.sanity.to_csv(index=False))
            save_figure(figure, work / "figure")
            if explained.taps is not None:
                write_text(work / "taps.csv", explained.taps.table.to_csv(index=False))
                beside = figure_taps(
                    self.image,
                    explained.outline,
                    explained.taps.maps,
                    explained.taps.strides,
                    title=f"{explained.target}: {explained.score:.3f}",
                    score=self.args.score,
                    sanity=explained.sanity,
                )
                save_figure(beside, work / "taps")
            if fields is not None:
                write_text(work / "erf.csv", self.fields_table(fields).to_csv(index=False))
                ladder = figure_receptive_fields(
                    self.image, explained.outline, list(fields.items()), title=explained.target
                )
                save_figure(ladder, work / "erf")
            write_json(work / "manifest.json", manifest(self, explained, fields))


def middle_pixel(outline: "npt.NDArray[np.integer]") -> tuple[int, int]:
    """Return x and y of the pixel of a target's first group that lies nearest to its centroid."""
    import numpy as np

    places = np.argwhere(outline == 1)
    middle = places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))]
    return int(middle[1]), int(middle[0])


def field_slopes(fields: "Mapping[str, Sequence[ReceptiveField]]") -> dict[str, float]:
    """Return the slope of log2 size on log2 stride of each condition's fields."""
    from gsto_viz.stats import fields_slope

    return {name: fields_slope(row) for name, row in fields.items()}


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
    from gsto_viz.files import versions
    from gsto_viz.inspection import weights_record

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
    from gsto_viz.commands.options import official_options

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
    from gsto_viz.data import portable_name
    from gsto_viz.report.folder import fingerprint

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


def table_rows(
    explained: "Explanation", fields: "Mapping[str, Sequence[ReceptiveField]] | None" = None
) -> list[dict[str, Any]]:
    """Return the table of branches as rows that JSON can hold.

    Args:
        explained: One target.
        fields: By condition, one receptive field per branch; each condition becomes a row
            ``erf_px`` with its ``condition``, ``branch_{r}`` (px) and ``slope``.
    """
    rows = _plain(explained.branches)
    slopes = {} if fields is None else field_slopes(fields)
    for name, row in (fields or {}).items():
        sizes = {f"branch_{r}": field.erf_px for r, field in enumerate(row)}
        rows.append({"method": "erf_px", "condition": name, **sizes, "slope": slopes[name]})
    return rows


def as_text(explained: "Explanation") -> str:
    """Lay out the result for the screen: branches, the paths that matter most, the checks."""
    lines = [f"{explained.target}: {explained.score:.4f}", ""]
    heads = [f"/{stride}" for stride in explained.strides]
    branches = [["method", "absent branches", *heads, "sum", "expected"]]
    for row in table_rows(explained):
        names = [*(f"branch_{r}" for r in range(len(heads))), "sum", "expected"]
        branches.append([row["method"], row["baseline"], *(_cell(row[name]) for name in names)])
    lines += text_table(branches, "<<>")
    paths = [["closed path", "value", "score", "drop"]]
    for path in _paths_to_show(explained.paths):
        paths.append([path["place"], path["value"], _cell(path["score"]), _cell(path["drop"])])
    lines += ["", *text_table(paths, "<<>")]
    lines += [
        "",
        f"branch split against the network's logits: {explained.sum_error:.1e} (relative); "
        f"Shapley values against the change of the score: {explained.efficiency_error:.1e}",
    ]
    lines += explained.notes
    if explained.taps is not None:
        taps = [["method", "tap", "stride", "total", "delta", "infidelity"]]
        for row in _plain(explained.taps.table):
            numbers = [_cell(row[name]) for name in ("stride", "total", "delta", "infidelity")]
            taps.append([row["method"], row["tap"], *numbers])
        lines += ["", *text_table(taps, "<<>")]
    if explained.sanity is not None:
        checks = [["check", "subject", "value"]]
        for check in explained.sanity.to_dict("records"):
            checks.append([check["check"], check["subject"], f"{check['value']:.3f}"])
        lines += ["", *text_table(checks, "<<>")]
    return "\n".join(lines) + "\n"


def _paths_to_show(paths: "pd.DataFrame") -> list[dict[Any, Any]]:
    """Return the changes that were asked for, then the eight closed paths that move most."""
    asked = paths["kind"] == "asked"
    closed = paths[~asked]
    order = closed["drop"].abs().sort_values(ascending=False, kind="stable").index
    return [*paths[asked].to_dict("records"), *closed.loc[order].head(8).to_dict("records")]


def _plain(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return rows of plain values, None where there is none."""
    import pandas as pd

    rows = frame.astype(object).to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in rows]


def _cell(value: float | None) -> str:
    """Return a number for the screen, a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"


def fields_text(fields: "Mapping[str, Sequence[ReceptiveField]]", strides: Sequence[int]) -> str:
    """Lay out effective receptive fields: their sizes, and how these follow the stride.

    Args:
        fields: By condition, one field per branch, the finest first.
        strides: Of the branches.
    """
    slopes = field_slopes(fields)
    rows = [["effective receptive field, px", *(f"/{stride}" for stride in strides), "slope"]]
    for name, row in fields.items():
        rows.append([name, *(f"{field.erf_px:.1f}" for field in row), f"{slopes[name]:.2f}"])
    lines = ["", *text_table(rows)]
    lines.append("slope: of log2 size on log2 stride; 1 as in a pyramid, 0 all branches see alike")
    return "\n".join(lines) + "\n"
