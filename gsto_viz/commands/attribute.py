"""``gsto-viz attribute``: who carries the evidence for one target of one image."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsto_viz.commands.official_options import add_official_options, official_options

if TYPE_CHECKING:
    from torch import Tensor

    from gsto_viz.attribution.baselines import Baseline
    from gsto_viz.attribution.explain import Explanation
    from gsto_viz.attribution.receptive import ReceptiveField
    from gsto_viz.models import HRNet

NAME = "attribute"
HELP = "explain a target of one image: exact branch contributions, closed paths, Captum's maps"
EXAMPLES = (
    "gsto-viz attribute camvid-gsto-hrnet-w18-small-v1 photo.png --target region:car:largest "
    "--out runs/car",
    "gsto-viz attribute last.safetensors photo.png --target pixel:120,80 --labels labels.png "
    "--sanity --out runs/pixel",
    "gsto-viz attribute last.safetensors photo.png --target class:car "
    "--change 'stage3.m0.gate[2->0]=0.5' --change stage4.branch2=zero --out runs/changed",
    "gsto-viz attribute last.safetensors photo.png --target class:road --calibration camvid:PATH "
    "--other second.png --erf --out runs/road",
)
OWN_FILES = (
    "maps.npz", "table.csv", "paths.csv", "sanity.csv", "erf.csv", "manifest.json",
    *(f"{name}.{suffix}" for name in ("figure", "erf") for suffix in ("pdf", "png", "svg")),
)  # fmt: skip
MEAN_IMAGES = 64
"""Images of --calibration that the dataset mean is taken over."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``attribute`` takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a shipped name or a file")
    parser.add_argument("image", metavar="IMAGE", help="a PNG or JPEG")
    parser.add_argument(
        "--target",
        required=True,
        metavar="T",
        help="pixel:X,Y[:CLASS], box:X0,Y0,X1,Y1[:CLASS], mask:FILE.png, region:NUMBER, "
        "region:CLASS[:largest|smallest|N], class:CLASS[:true|predicted], size:LOW-HIGH (octaves)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--labels", metavar="PNG", help="annotation: regions come from it")
    parser.add_argument("--instances", metavar="PNG", help="instance numbers of the annotation")
    parser.add_argument(
        "--ignore",
        type=int,
        metavar="N",
        help="a number in --labels that means no class, beside 255; CamVid's is 11",
    )
    parser.add_argument(
        "--score",
        default="margin",
        choices=("margin", "mean", "sum"),
        help="margin over the next class, or mean or sum of the class's logit (default: margin)",
    )
    parser.add_argument("--head", default="main", help="main, or stage3, stage2 of gated networks")
    parser.add_argument(
        "--method",
        action="append",
        metavar="NAME",
        help="gradient_x_activation, grad_cam, integrated_gradients, conductance, activation; may "
        "be repeated (default: the first three)",
    )
    parser.add_argument("--steps", type=int, default=16, help="steps of path integrals")
    parser.add_argument(
        "--memory", type=float, default=4.0, metavar="GiB", help="for path integrals (default: 4)"
    )
    parser.add_argument(
        "--calibration", metavar="SPEC", help="images for the dataset mean (default: this image)"
    )
    parser.add_argument("--other", metavar="IMAGE", help="another image as a third baseline")
    parser.add_argument(
        "--change",
        action="append",
        default=[],
        metavar="PLACE=VALUE",
        help="also read the score with one place changed, such as 'stage3.m0.gate[2->0]=0.5', "
        "stage4.branch2=zero or stem=blur:2; may be repeated",
    )
    parser.add_argument("--sanity", action="store_true", help="randomise weights and compare")
    parser.add_argument("--erf", action="store_true", help="effective receptive fields too (slow)")
    parser.add_argument("--size", metavar="HxW", help="resize the image first; default: native")
    parser.add_argument("--seed", type=int, default=0)
    add_official_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what DIR holds")
    parser.add_argument("--json", metavar="F", help="write the table as JSON too; - for stdout")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def run(args: argparse.Namespace) -> int:
    """Explain, write the folder, print the table and where to look."""
    from gsto_viz.commands.attribute_text import as_text, fields_text, table_rows
    from gsto_viz.commands.options import check_output_file, json_only
    from gsto_viz.folders import check_target
    from gsto_viz.models import load_model
    from gsto_viz.torch_utils import pick_device

    check_output_file(args.json, "--json")
    check_target(Path(args.out), OWN_FILES, overwrite=args.overwrite)
    _check_numbers(args)
    model = load_model(args.checkpoint, **official_options(args)).to(pick_device(args.device))
    work = Work(args, model)
    explained = work.explain()
    fields = work.receptive_fields(explained) if args.erf else None
    work.write(explained, fields)
    rows = table_rows(explained)
    if json_only(rows, args.json):
        return 0
    text = as_text(explained) + ("" if fields is None else fields_text(fields, explained.strides))
    sys.stdout.write(text + f"{args.out}\n")
    return 0


def _check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing, before any work."""
    from gsto_viz.errors import GstoVizError

    if args.steps < 1:
        raise GstoVizError(f"--steps {args.steps}: give 1 or more")
    if args.ignore is not None and not 0 <= args.ignore < 2**16:
        raise GstoVizError(f"--ignore {args.ignore}: give a number from 0 to 65535")
    if not 0 < args.memory < 2**20:
        raise GstoVizError(f"--memory {args.memory:g}: give GiB above 0")


class Work:
    """One run of the command: what was read, and what is made of it."""

    def __init__(self, args: argparse.Namespace, model: "HRNet") -> None:
        from gsto_viz.attribution import View, parse_intervention, parse_place
        from gsto_viz.data import read_image
        from gsto_viz.evaluate import predict
        from gsto_viz.torch_utils import eval_mode

        self.args, self.model = args, model
        self.place = parse_place(args.target)
        self.changes = [parse_intervention(model, text) for text in args.change]
        image = read_image(args.image)
        self.native = image.shape[:2]
        self.image = self.resized(image)
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
        from gsto_viz.data import parse_size
        from gsto_viz.data.spec import resize_image

        return resize_image(image, parse_size(self.args.size)) if self.args.size else image

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
        from gsto_viz.data import load_data, read_image
        from gsto_viz.data.spec import resize_image

        head = self.args.head
        if self.args.calibration:
            data = load_data(self.args.calibration, purpose="eval")
            count = min(len(data), MEAN_IMAGES)
            images = (self.tensor(data[k].image) for k in range(count))
            name = f"mean of {count} images"
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
        from gsto_viz.attribution.explain import METHODS, explain_target

        args = self.args
        return explain_target(
            self.model,
            self.pixels,
            self.view,
            Target(self.place, args.score, args.head),
            self.baselines(),
            methods=args.method or METHODS,
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
        import numpy as np

        from gsto_viz.attribution.effects import branch_paths
        from gsto_viz.attribution.receptive import receptive_fields

        places = np.argwhere(explained.outline == 1)
        middle = places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))]
        pixel = (int(middle[1]), int(middle[0]))
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

    def write(
        self, explained: "Explanation", fields: "dict[str, list[ReceptiveField]] | None"
    ) -> None:
        """Write the folder, the manifest last; whole or not at all."""
        import numpy as np
        import pandas as pd

        from gsto_viz.attribution.receptive import field_rows
        from gsto_viz.files import atomic_path, write_json, write_text
        from gsto_viz.folders import new_folder
        from gsto_viz.plots import save_figure
        from gsto_viz.plots.attribution import figure_attribution
        from gsto_viz.plots.attribution_fields import figure_receptive_fields

        figure = figure_attribution(
            self.image,
            explained.outline,
            explained.maps,
            explained.map_strides,
            explained.branches,
            explained.paths,
            strides=explained.strides,
            title=f"{explained.target}: {explained.score:.3f}",
            sanity=explained.sanity,
        )
        with new_folder(Path(self.args.out), OWN_FILES, overwrite=self.args.overwrite) as work:
            with atomic_path(work / "maps.npz") as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **explained.maps)  # type: ignore[arg-type]
            write_text(work / "table.csv", explained.branches.to_csv(index=False))
            write_text(work / "paths.csv", explained.paths.to_csv(index=False))
            if explained.sanity is not None:
                write_text(work / "sanity.csv", explained.sanity.to_csv(index=False))
            save_figure(figure, work / "figure")
            if fields is not None:
                name = Path(self.args.image).name
                frames = [field_rows(f, name).assign(condition=k) for k, f in fields.items()]
                write_text(work / "erf.csv", pd.concat(frames).to_csv(index=False))
                ladder = figure_receptive_fields(
                    self.image, explained.outline, list(fields.items()), title=explained.target
                )
                save_figure(ladder, work / "erf")
            write_json(work / "manifest.json", self.manifest(explained))

    def manifest(self, explained: "Explanation") -> dict[str, Any]:
        """Return what the results depend on."""
        from gsto_viz.files import sha256_of
        from gsto_viz.inspection import weights_record
        from gsto_viz.versions import versions

        args = self.args
        return {
            "schema_version": 1,
            "target": explained.target,
            "score": explained.score,
            "score_unit": "logits, on the grid of the logits, cells weighted by pixels",
            "regions_from": self.view.source,
            "checkpoint": weights_record(self.model),
            "image": {
                "name": Path(args.image).name,
                "sha256": sha256_of(args.image),
                "native_size": list(self.native),
                "input_size": list(self.image.shape[:2]),
            },
            "labels": None if not args.labels else {"sha256": sha256_of(args.labels)},
            "baselines": explained.branches["baseline"].drop_duplicates().tolist(),
            "calibration": args.calibration and args.calibration.partition(":")[0],
            "strides": list(explained.strides),
            "maps": {k: list(m.shape) for k, m in explained.maps.items()},
            "map_strides": explained.map_strides,
            "steps": args.steps,
            "seed": args.seed,
            "checks": {
                "sum_error": explained.sum_error,
                "efficiency_error": explained.efficiency_error,
            },
            "versions": versions(),
        }
