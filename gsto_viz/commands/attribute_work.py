"""What ``gsto-viz attribute`` reads, explains and writes."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from torch import Tensor

    from gsto_viz.attribution.baselines import Baseline
    from gsto_viz.attribution.explain import Explanation
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
        from gsto_viz.data.spec import resize_image

        return image if self.size is None else resize_image(image, self.size)

    def _resized_mask(self, place: "Place") -> "Place":
        """Bring a mask of the native image to the size of --size; other places stay."""
        from gsto_viz.attribution.places import Mask
        from gsto_viz.data.spec import resize_map

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
        from gsto_viz.data.reader import read_instance_map, read_label_map
        from gsto_viz.data.spec import resize_map
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
        from gsto_viz.data import read_image
        from gsto_viz.data.spec import resize_image

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
        from gsto_viz.attribution.effects import branch_paths
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

        from gsto_viz.commands.attribute_manifest import all_maps, manifest
        from gsto_viz.files import atomic_path, write_json, write_text
        from gsto_viz.folders import new_folder
        from gsto_viz.plots import save_figure
        from gsto_viz.plots.attribution import figure_attribution
        from gsto_viz.plots.attribution_fields import figure_receptive_fields
        from gsto_viz.plots.attribution_taps import figure_taps

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
