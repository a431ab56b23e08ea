"""Presets: named sets of sizes and settings, as data."""

from core.presets.preset import Preset
from core.presets.presets import all_presets, find_preset

__all__ = ["Preset", "all_presets", "find_preset"]
