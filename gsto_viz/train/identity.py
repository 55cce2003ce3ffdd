"""Which data a run was trained on, said without the place where they lay."""

import hashlib
from pathlib import PurePath
from typing import Any

from gsto_viz.data.camvid import SPLITS
from gsto_viz.recipe import Recipe
from gsto_viz.types import Dataset

NOTICES = {
    kind: f"trained on {name} images: the weights are for non-commercial use only"
    for kind, name in {
        "camvid": "CamVid",
        "cityscapes": "Cityscapes",
        "lip": "LIP",
        "ade20k": "ADE20K",
    }.items()
}
"""What users of weights must know, by the kind of the training data."""


def data_kind(name: str) -> str:
    """Return the first word of a data set's name: ``scenes``, ``camvid``, ``folder``."""
    return PurePath(name.partition(":")[0]).name


def portable_name(name: str) -> str:
    """Return a data set's name without its path: ``camvid:train``, or a SPEC of scenes as it is."""
    kind = data_kind(name)
    if kind == "scenes":
        return name
    split = name.rpartition(":")[2]
    return f"{kind}:{split}" if split in SPLITS else kind


def ids_digest(data: Dataset) -> str:
    """Return a SHA-256 of all sample ids in order: other images give another one."""
    return hashlib.sha256("\n".join(data.ids).encode()).hexdigest()


def portable_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe with the file name only where it starts from a file."""
    return {**recipe.to_dict(), "initialization": PurePath(recipe.initialization).name}
