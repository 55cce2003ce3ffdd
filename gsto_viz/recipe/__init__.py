"""Training recipes: one typed, immutable configuration that refuses what it does not know."""

from gsto_viz.recipe.files import load_recipe, recipe_from_dict, recipe_names
from gsto_viz.recipe.settings import Recipe

__all__ = ["Recipe", "load_recipe", "recipe_from_dict", "recipe_names"]
