"""Warnings about parameters that are allowed but probably not intended."""

from __future__ import annotations

from core.catalogue import CatalogueModel
from core.parameters.parameters import RenderParameters

_WARN_ABOVE_FACTOR = 1.75
GUIDANCE_OFF = 1.0
PURE_NOISE = 1.0


def guidance_is_on(model: CatalogueModel, guidance_scale: float) -> bool:
    """Return whether guidance has an effect, which makes each step run the model twice."""
    return model.cfg != "none" and guidance_scale > GUIDANCE_OFF


def cost_factor(model: CatalogueModel, parameters: RenderParameters) -> float:
    """Return the forward passes of this image divided by those of the model's defaults."""
    return _forwards(model, parameters.num_inference_steps, parameters.guidance_scale) / _forwards(
        model, model.defaults.num_inference_steps, model.defaults.guidance_scale
    )


def _forwards(model: CatalogueModel, steps: int, guidance_scale: float) -> int:
    return steps * (2 if guidance_is_on(model, guidance_scale) else 1)


def advise(model: CatalogueModel, parameters: RenderParameters) -> list[str]:
    """Return warnings in whole sentences, for the job's `warnings`."""
    found = [
        _negative_prompt(model, parameters),
        _guidance_ignored(model, parameters),
        _init_image_ignored(parameters),
        _cost(model, parameters),
    ]
    return [warning for warning in found if warning]


def _negative_prompt(model: CatalogueModel, parameters: RenderParameters) -> str:
    if not parameters.negative_prompt:
        return ""
    if model.negative_prompt == "none":
        return f"negative_prompt has no effect: {model.id} does not use one."
    if not guidance_is_on(model, parameters.guidance_scale):
        return (
            "negative_prompt has no effect while guidance is off "
            f"(guidance_scale {parameters.guidance_scale:g}; above 1.0 turns it on and doubles the cost)."
        )
    return ""


def _guidance_ignored(model: CatalogueModel, parameters: RenderParameters) -> str:
    if model.cfg == "none" and parameters.guidance_scale != GUIDANCE_OFF:
        return f"guidance_scale has no effect: {model.id} has no guidance."
    return ""


def _init_image_ignored(parameters: RenderParameters) -> str:
    if parameters.start_sigma == PURE_NOISE:
        return "init_image has no effect: start_sigma 1 starts from pure noise."
    return ""


def _cost(model: CatalogueModel, parameters: RenderParameters) -> str:
    factor = cost_factor(model, parameters)
    if factor < _WARN_ABOVE_FACTOR:
        return ""
    defaults = model.defaults
    quality = " and may oversaturate the image" if defaults.guidance_scale <= GUIDANCE_OFF else ""
    return (
        f"{parameters.num_inference_steps} steps at guidance_scale {parameters.guidance_scale:g} cost {factor:.1f}x "
        f"{model.id}'s defaults ({defaults.num_inference_steps} steps, guidance_scale {defaults.guidance_scale:g})"
        f"{quality}."
    )
