"""Named recipes: `load_recipe(name).resolve(student, family, overrides)` gives a `core.records.Recipe`."""

from kdharness.training.recipes.recipe_file import AUGMENTS, RecipeFile, load_recipe, names

__all__ = ["AUGMENTS", "RecipeFile", "load_recipe", "names"]
