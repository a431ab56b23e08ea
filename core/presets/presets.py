"""Presets: named sizes and settings, read from presets.toml and looked up by id."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from core.catalogue import CatalogueModel
from core.errors import InvalidInput


class Preset(BaseModel):
    """Values for fields that a request leaves out. `steps_factor` scales the model's own number of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]*$")
    title: str
    about: str
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    steps_factor: float = 1.0
    guidance_scale: float | None = None

    def steps_for(self, model: CatalogueModel) -> int:
        """Return the denoising steps for a model, within its limits unless the preset names a number."""
        if self.num_inference_steps is not None:
            return self.num_inference_steps
        return min(max(round(model.defaults.num_inference_steps * self.steps_factor), 1), model.limits.max_steps)


@cache
def all_presets() -> tuple[Preset, ...]:
    """Return every preset, in the order for menus."""
    data = tomllib.loads(files("core.presets").joinpath("presets.toml").read_text(encoding="utf-8"))
    return tuple(Preset.model_validate(row) for row in data["preset"])


def find_preset(preset_id: str) -> Preset:
    """Return the preset of that id; the InvalidInput for an unknown id suggests similar ones."""
    known = {preset.id: preset for preset in all_presets()}
    if preset_id in known:
        return known[preset_id]
    near = difflib.get_close_matches(preset_id, known, n=3) or list(known)
    raise InvalidInput(
        f"There is no preset called '{preset_id}'. Try {', '.join(near)}.", field="preset", code="unknown_preset"
    )
