"""Presets: named sets of sizes and settings, defined in presets.toml."""

from core.presets.presets import Preset, all_presets, find_preset

__all__ = ["Preset", "all_presets", "find_preset"]
