"""From a recipe to a network with weights."""

import torch

from gsto_viz.errors import GstoVizError
from gsto_viz.models.hrnet import HRNet, initialize
from gsto_viz.models.registry import build_model
from gsto_viz.recipe import Recipe

SCHEMES = ("kaiming", "normal")


def build_for(recipe: Recipe, num_classes: int) -> HRNet:
    """Make the recipe's network with weights that follow from its seed.

    The generator of the caller is left as it was.

    Raises:
        GstoVizError: An unknown network or option, or an initialisation that is neither a scheme
            nor a file that fits.
    """
    fresh = recipe.initialization in SCHEMES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        try:
            model = build_model(recipe.model, **recipe.model_options, num_classes=num_classes)
        except TypeError as error:
            raise GstoVizError(
                f"recipe: model_options {recipe.model_options} make no network: {error}"
            ) from error
        initialize(model, recipe.initialization if fresh else "kaiming")
    if not fresh:
        from gsto_viz.models.official import load_official

        load_official(model, recipe.initialization)
    return model
