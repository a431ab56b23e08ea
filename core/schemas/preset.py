"""Presets as the API lists them."""

from __future__ import annotations

from core.schemas.base import Answer


class Preset(Answer):
    """Values for what a request leaves out; null leaves it to the model."""

    id: str
    title: str
    about: str
    width: int | None
    height: int | None
    num_inference_steps: int | None
    steps_factor: float
    guidance_scale: float | None


class PresetList(Answer):
    """GET /v1/presets."""

    items: list[Preset]
