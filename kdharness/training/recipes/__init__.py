"""Named recipes: `load_recipe(name).resolve(student, family, overrides)` gives a `core.records.Recipe`."""

from kdharness.training.recipes.recipe_file import AUGMENTS, STREAMED_AUGMENTS, RecipeFile, load_recipe, names

__all__ = ["AUGMENTS", "STREAMED_AUGMENTS", "RecipeFile", "load_recipe", "names"]
