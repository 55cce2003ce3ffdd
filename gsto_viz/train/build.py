"""From a recipe to a network with weights."""

from pathlib import Path

import torch

from gsto_viz.errors import GstoVizError
from gsto_viz.models.checkpoint import (
    METADATA_KEY,
    load_checkpoint,
    load_weights,
    shipped_checkpoints,
)
from gsto_viz.models.hrnet import HRNet, initialize
from gsto_viz.models.official import load_official
from gsto_viz.models.registry import model_config
from gsto_viz.models.tensor_files import read_metadata
from gsto_viz.recipe import Recipe

SCHEMES = ("kaiming", "normal")

IMAGENET_FILES = {
    "w18-small-v1": "hrnet_w18_small_model_v1.pth",
    "w18-small-v2": "hrnet_w18_small_model_v2.pth",
    **{
        f"w{width}": f"hrnetv2_w{width}_imagenet_pretrained.pth"
        for width in (18, 30, 32, 40, 44, 48, 64)
    },
}
"""Official files of ImageNet weights by size (github.com/HRNet/HRNet-Image-Classification)."""


def build_for(recipe: Recipe, num_classes: int) -> HRNet:
    """Make the recipe's network with weights that follow from its seed.

    The generator of the caller is left as it was.

    Raises:
        GstoVizError: An unknown network or option, an auxiliary head without loss weight, or an
            initialisation that is neither a scheme nor a file that fits.
    """
    if recipe.initialization == "imagenet":
        raise GstoVizError(_missing_start(recipe.model))
    fresh = recipe.initialization in SCHEMES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        options = {**recipe.model_options, "num_classes": num_classes}
        model = HRNet(model_config(recipe.model).with_options(**options))
        _check_auxiliary_weights(recipe, model)
        initialize(model, recipe.initialization if fresh else "kaiming")
    if not fresh:
        _load_start(model, start_of(recipe))
    return model


def start_of(recipe: Recipe) -> str:
    """Return the file that a recipe starts from, or the scheme of its fresh weights.

    ``{model}`` stands for the recipe's network, and the name of a shipped checkpoint for its file.
    """
    start = recipe.initialization.replace("{model}", recipe.model)
    return str(shipped_checkpoints().get(start, start))


def _missing_start(model: str) -> str:
    size = model.removeprefix("gsto-").removeprefix("hrnetv2-").removeprefix("hrnet-")
    official = IMAGENET_FILES.get(size)
    named = f" of {official} or of timm's file" if official else ""
    return (
        f"this recipe starts from ImageNet weights: give the path{named} with --set "
        "initialization=PATH, or --set initialization=kaiming to start from random weights"
    )


def _check_auxiliary_weights(recipe: Recipe, model: HRNet) -> None:
    gating = model.config.gating
    stages = () if gating is None else (*gating.supervised, *gating.auxiliary_heads)
    missing = sorted({f"stage{s}" for s in stages} - set(recipe.auxiliary_weights))
    if missing:
        raise GstoVizError(
            f"recipe: auxiliary_weights lacks {', '.join(missing)}, where {recipe.model} has an "
            "auxiliary head; give each a loss weight"
        )


def _load_start(model: HRNet, path: str) -> None:
    """Copy the weights of one of our checkpoints, or of an official file, into the network.

    Raises:
        GstoVizError: The file is unreadable or of another architecture or class count.
    """
    if path.endswith(".safetensors") and METADATA_KEY in read_metadata(Path(path)):
        load_weights(model, load_checkpoint(path).state_dict(), source=path)
    else:
        load_official(model, path)
