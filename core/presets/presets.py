"""The presets that ship with the farm, read from presets.toml."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib.resources import files

from core.errors import InvalidInput
from core.presets.preset import Preset


@cache
def all_presets() -> tuple[Preset, ...]:
    """Every preset, in the order in which a menu should show them."""
    data = tomllib.loads(files("core.presets").joinpath("presets.toml").read_text(encoding="utf-8"))
    return tuple(Preset.model_validate(row) for row in data["preset"])


def find_preset(preset_id: str) -> Preset:
    """The preset of that id; InvalidInput names the near ones."""
    known = {preset.id: preset for preset in all_presets()}
    if preset_id in known:
        return known[preset_id]
    near = difflib.get_close_matches(preset_id, known, n=3) or list(known)
    raise InvalidInput(
        f"There is no preset called '{preset_id}'. Try {', '.join(near)}.", field="preset", code="unknown_preset"
    )
