"""Recipes by name and from YAML files."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text
from gsto_viz.recipe.settings import Recipe, refuse_unknown


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("gsto_viz") / "recipes"
    names = [path.name for path in folder.iterdir()]
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_recipe(source: str | Path, *, model: str | None = None) -> Recipe:
    """Read a recipe by its name or from a YAML file.

    Args:
        source: A name of ``recipe_names``, or a path that ends in ``.yaml`` or ``.yml``.
        model: Take this network instead of the recipe's own.

    Raises:
        GstoVizError: No such recipe (the known ones are listed), not YAML, an unknown key (with the
            closest names), a value of the wrong type or out of range.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        text = read_small_text(path, "the recipe")
    elif str(source) in recipe_names():
        text = (resources.files("gsto_viz") / "recipes" / f"{source}.yaml").read_text("utf-8")
    else:
        raise GstoVizError(
            f"no recipe '{source}'; give a .yaml file or one of {', '.join(recipe_names())}"
        )
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 30th of February; [[[[...
        raise GstoVizError(f"the recipe {source} is not YAML ({error}); correct it") from error
    if not isinstance(values, dict):
        raise GstoVizError(f"the recipe {source} must be a mapping of settings")
    if model is not None:
        values["model"] = model
    if "model" not in values:
        raise GstoVizError(f"the recipe {source} names no model; add 'model: NAME'")
    return recipe_from_dict(values)


def recipe_from_dict(values: dict[str, Any]) -> Recipe:
    """Make a recipe of plain values, such as ``Recipe.to_dict`` gives; missing ones are default.

    Raises:
        GstoVizError: An unknown key (with the closest names), or a value that does not fit.
    """
    refuse_unknown(values)
    return Recipe(**values)
