"""What the study consists of: arms, variants and runs, read from ``study.yaml`` and checked.

A run is made of an arm (a world: data and one base recipe), a variant (a network) and a seed. The
resolved recipes of an arm may differ in ``SWITCH`` alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.files import read_small_text
from gsto_viz.models import model_config
from gsto_viz.train.recipe import Recipe, load_recipe, recipe_from_dict

STUDY = Path(__file__).with_name("study.yaml")
SWITCH = ("model", "model_options")
MAX_SEEDS = 16
CAMVID = "{camvid}"
"""Stands in study.yaml for the folder of CamVid, which no record names."""

NUMBER = (int, float)
ARM_KEYS: dict[str, type | tuple[type, ...]] = {
    "recipe": str,
    "data": str,
    "val": str,
    "test": str,
    "variants": list,
    "further": list,
    "seeds": int,
    "floor": NUMBER,
    "attribution_images": int,
    "seconds_per_step": NUMBER,
}


@dataclass(frozen=True)
class Run:
    """One network to train: a variant and a seed."""

    variant: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant}-seed{self.seed}"


@dataclass(frozen=True)
class Arm:
    """One world, its variants, and how they are measured.

    Attributes:
        name: Of the arm.
        protocol: Version ``MAJOR.MINOR`` of the study; a minor one only adds variants.
        recipes: By variant, the resolved recipe (its seed is 0, each run sets its own).
        labels: By variant, what it is called in tables.
        usual: Variants that are run unless others are named.
        data: SPECs of training, validation and test images as study.yaml has them.
        camvid: The folder that ``{camvid}`` stands for, if given.
        seeds: Seeds of each variant that the protocol asks for.
        floor: Best validation mIoU, in percent, below which a run is left out.
        attribution_images: Test images on which SCI_C and STP are measured.
        seconds_per_step: Assumed until a run has finished.
    """

    name: str
    protocol: str
    recipes: dict[str, Recipe]
    labels: dict[str, str]
    usual: tuple[str, ...]
    data: dict[str, str]
    camvid: str | None
    seeds: int
    floor: float
    attribution_images: int
    seconds_per_step: float

    def spec(self, part: str) -> str:
        """Return the SPEC of the images of ``data``, ``val`` or ``test``.

        Raises:
            GstoVizError: It needs the folder of CamVid.
        """
        spec = self.data[part]
        if CAMVID in spec and not self.camvid:
            raise GstoVizError(
                f"arm {self.name} needs CamVid; give its folder with --camvid PATH, or in the "
                "environment variable GSTO_VIZ_CAMVID"
            )
        return spec.replace(CAMVID, self.camvid or "")

    def record(self) -> dict[str, Any]:
        """Return all that decides a result, without any path: kept beside runs and results."""
        return {
            "protocol": self.protocol,
            "arm": self.name,
            **self.data,
            "floor": self.floor,
            "attribution_images": self.attribution_images,
            "recipes": {name: recipe.to_dict() for name, recipe in self.recipes.items()},
        }

    def runs(self, variants: Sequence[str] | None, seeds: int | None) -> list[Run]:
        """Return the runs in their order, seed by seed: a stop at any time leaves whole blocks.

        Raises:
            GstoVizError: No such variant, or seeds outside 1..16.
        """
        chosen = list(dict.fromkeys(variants or self.usual))
        for name in chosen:
            _known("variant", name, self.recipes)
        count = self.seeds if seeds is None else seeds
        if not 1 <= count <= MAX_SEEDS:
            raise GstoVizError(f"--seeds {count}: give a number from 1 to {MAX_SEEDS}")
        return [Run(name, seed) for seed in range(1, count + 1) for name in chosen]


def load_arm(path: str | Path, name: str, camvid: str | None = None) -> Arm:
    """Read one arm of a study file.

    Args:
        path: The study file; recipes are looked for beside it.
        name: Of the arm.
        camvid: Folder of CamVid.

    Raises:
        GstoVizError: No such arm, the file is not a study, or its recipes differ in more than the
            switch.
    """
    path = Path(path)
    study = read_mapping(path, "the study file")
    _check_keys("the study file", study, {"protocol": str, "variants": dict, "arms": dict})
    parse_version(study["protocol"], str(path))
    _known("arm", name, study["arms"])
    values = study["arms"][name]
    _check_keys(f"arm {name}", values, ARM_KEYS)
    base = load_recipe(path.parent / values["recipe"])
    recipes, labels = {}, {}
    for variant in (*values["variants"], *values["further"]):
        _known("variant", variant, study["variants"])
        settings = dict(study["variants"][variant])
        labels[variant] = str(settings.pop("label", variant))
        recipes[variant] = base.with_settings({"model_options": {}, "seed": 0, **settings})
        model_config(recipes[variant].model, **recipes[variant].model_options)
    check_switch(recipes)
    return Arm(
        name=name,
        protocol=study["protocol"],
        recipes=recipes,
        labels=labels,
        usual=tuple(values["variants"]),
        data={part: values[part] for part in ("data", "val", "test")},
        camvid=camvid,
        seeds=values["seeds"],
        floor=float(values["floor"]),
        attribution_images=values["attribution_images"],
        seconds_per_step=float(values["seconds_per_step"]),
    )


def check_switch(recipes: Mapping[str, Recipe]) -> None:
    """Refuse recipes that differ from the first one in more than the network.

    Raises:
        GstoVizError: With every other setting that differs; ``{model}`` in ``initialization``
            differs with the network.
    """
    resolved = {}
    for name, recipe in recipes.items():
        resolved[name] = recipe.to_dict()
        resolved[name]["initialization"] = recipe.initialization.replace("{model}", recipe.model)
    (first, expected), *others = resolved.items()
    for name, found in others:
        wrong = [
            f"{key}: {expected[key]!r} and {found[key]!r}"
            for key in expected
            if key not in SWITCH and found[key] != expected[key]
        ]
        if wrong:
            raise GstoVizError(
                f"the recipes of {first} and {name} differ in {'; '.join(wrong)}; variants may "
                f"differ in {' and '.join(SWITCH)} alone"
            )


def check_same_study(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Refuse a folder of another protocol, or of other recipes or data.

    A folder of an earlier minor version goes on if all that it records is as it was.

    Raises:
        GstoVizError: With what differs first.
    """
    old, new = (parse_version(str(one.get("protocol")), str(where)) for one in (before, now))
    if old[0] != new[0] or old[1] > new[1]:
        raise GstoVizError(
            f"{where} is of protocol {before.get('protocol')} and this is {now['protocol']}; give "
            "another folder"
        )
    recipes = before.get("recipes")
    if not isinstance(recipes, dict) or not all(isinstance(r, dict) for r in recipes.values()):
        raise GstoVizError(f"{where} has no recipes in its study.yaml; give another folder")
    # Settings that were added since have their defaults, which change nothing.
    filled = {name: recipe_from_dict(recipe).to_dict() for name, recipe in recipes.items()}
    shared = {name: now["recipes"].get(name) for name in recipes}
    old_values = {**before, "recipes": filled}
    new_values = {**now, "protocol": before["protocol"], "recipes": shared}
    if old_values != new_values:
        raise GstoVizError(
            f"{where} holds another study ({_difference('', old_values, new_values)}); give "
            "another folder"
        )


def _difference(where: str, before: Any, now: Any) -> str:
    """Name the first place where two values differ: ``recipes.gfm.lr: 0.04 -> 0.02``."""
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(key for key in {**before, **now} if before.get(key) != now.get(key))
        return _difference(f"{where}.{key}", before.get(key), now.get(key))
    return f"{where.lstrip('.')}: {before!r} -> {now!r}"


def parse_version(text: str, where: str) -> tuple[int, int]:
    """Take ``1.0`` apart.

    Raises:
        GstoVizError: It is not of this form.
    """
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise GstoVizError(f"{where}: the protocol is '{text}'; write MAJOR.MINOR, such as '1.0'")
    return int(major), int(minor)


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Read a small YAML file that holds a mapping.

    Raises:
        GstoVizError: It does not.
    """
    try:
        values = yaml.safe_load(read_small_text(path, what))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, GstoVizError):
            raise
        raise GstoVizError(f"{what} {path} is not YAML ({error}); correct it") from error
    if not isinstance(values, dict):
        raise GstoVizError(f"{what} {path} must be a mapping of settings")
    return values


def _check_keys(where: str, values: Any, expected: Mapping[str, type | tuple[type, ...]]) -> None:
    """Refuse unknown, missing and mistyped keys."""
    if not isinstance(values, dict):
        raise GstoVizError(f"{where} must be a mapping of {', '.join(expected)}")
    for key in values:
        _known(f"key in {where}:", str(key), expected)
    for key, kind in expected.items():
        if key not in values:
            raise GstoVizError(f"{where} lacks '{key}'; add it")
        if not isinstance(values[key], kind) or isinstance(values[key], bool):
            raise GstoVizError(f"{where}: {key} is {values[key]!r}, which is of the wrong type")


def _known(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        hint = did_you_mean(name, names, otherwise=f"valid: {', '.join(names)}")
        raise GstoVizError(f"unknown {what} '{name}'; {hint}")
