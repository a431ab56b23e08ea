"""Presets and recipes: named sets of sizes and settings, defined in presets.toml and recipes.toml."""

from core.presets.presets import Preset, all_presets, find_preset
from core.presets.recipes import Recipe, all_recipes, find_recipe, fit_recipe

__all__ = ["Preset", "Recipe", "all_presets", "all_recipes", "find_preset", "find_recipe", "fit_recipe"]
