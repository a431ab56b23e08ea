"""Complete and check render parameters, and warn about those without effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.catalogue import GUIDANCE_OFF, CatalogueModel
from core.catalogue.loras import LoraFile
from core.imagefile.masks import MAX_FEATHER
from core.parameters.loras import TakenLoras, check_loras, take_loras
from core.parameters.parameters import Findings, InitImage, MaskImage, Parent, RenderParameters
from core.parameters.seeds import choose_variation, resolve_seed, variation_ignored
from core.parameters.sizes import check_size, choose_size
from core.presets import Preset, find_preset, find_recipe, fit_recipe
from core.presets.recipes import FittedRecipe
from core.refine_mode import RefineMode
from core.render import DEFAULT_INPAINT_STRENGTH, DEFAULT_STRENGTH, NoiseSource
from core.schemas.jobs import RenderFields

_WARN_ABOVE_FACTOR = 1.75
PURE_NOISE = 1.0


def cost_factor(model: CatalogueModel, parameters: RenderParameters) -> float:
    """Return the forward passes of this image divided by those of the model's defaults."""
    return model.forward_passes(parameters.num_inference_steps, parameters.guidance_scale) / model.default_passes


def advise(model: CatalogueModel, parameters: RenderParameters) -> list[str]:
    """Return warnings in whole sentences, for the job's `warnings`."""
    found = [
        _negative_prompt(model, parameters),
        _guidance_ignored(model, parameters),
        _init_image_ignored(parameters),
        _mask_is_white(parameters),
        _mask_has_another_shape(parameters),
        _cost(model, parameters),
    ]
    return [warning for warning in found if warning]


def _negative_prompt(model: CatalogueModel, parameters: RenderParameters) -> str:
    if not parameters.negative_prompt:
        return ""
    if model.negative_prompt == "none":
        return f"negative_prompt has no effect: {model.id} does not use one."
    if not model.guidance_is_on(parameters.guidance_scale):
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
    if parameters.start_sigma == PURE_NOISE and parameters.mask is None:
        return "init_image has no effect: start_sigma 1 starts from pure noise."
    return ""


def _mask_is_white(parameters: RenderParameters) -> str:
    if parameters.mask is not None and parameters.mask.white_share == 1:
        return "mask has no effect: it is white everywhere, so the whole image is repainted."
    return ""


_SAME_SHAPE = 0.02
"""Relative difference of two aspect ratios that rounding a size explains."""


def _mask_has_another_shape(parameters: RenderParameters) -> str:
    mask, image = parameters.mask, parameters.init_image
    if mask is None or image is None or abs(mask.width * image.height / (mask.height * image.width) - 1) < _SAME_SHAPE:
        return ""
    return (
        f"mask is {mask.width}x{mask.height} and init_image {image.width}x{image.height}, of another shape: "
        f"both are stretched to {parameters.width}x{parameters.height}."
    )


def _strength_ignored(request: RenderFields, model: CatalogueModel) -> str:
    if request.strength is not None and model.img2img == "edit":
        return f"strength has no effect: {model.id} edits init_image as the prompt says."
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


@dataclass(frozen=True)
class RequestLimits:
    """Limits of the settings, for all models. `empty_prompt`: whether a prompt may be empty, as on A1111's face."""

    max_prompt_chars: int
    max_images: int
    empty_prompt: bool = False


@dataclass(frozen=True)
class Origin:
    """What only a refinement sets: see the fields of `RenderParameters`. `warnings` are added to the job's."""

    parent: Parent | None = None
    refine_mode: RefineMode | None = None
    coherent: NoiseSource | None = None
    upscaler: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Normalised:
    """Parameters that can be rendered, and warnings for the caller."""

    parameters: RenderParameters
    warnings: list[str]


def normalise(
    request: RenderFields,
    model: CatalogueModel,
    limits: RequestLimits,
    init_image: InitImage | None = None,
    mask: MaskImage | None = None,
    loras: Sequence[LoraFile] | None = None,
    origin: Origin = Origin(),
) -> Normalised:
    """Complete and check a request; `init_image` and `mask` are the images that the request names.

    `origin`: what the job is made from, if that is an image of this farm. `loras`: the files that its LoRAs must be among;
    None leaves that check to the engine.
    Raises InvalidParameters, which lists every invalid value, or InvalidInput for a LoRA that the model cannot take.
    """
    findings = Findings()
    taken = TakenLoras(request.prompt, request.negative_prompt or "")
    if request.may_name_loras:
        taken = take_loras(request, limits.max_prompt_chars, findings)
    preset = find_preset(request.preset) if request.preset else None
    recipe = fit_recipe(find_recipe(request.recipe), model) if request.recipe else None
    _check_texts(request, taken.prompt, limits, findings)
    _check_count(request.num_images, limits, findings)
    width, height = choose_size(request, model, preset, init_image, findings)
    check_size(width, height, model, findings)
    variation = choose_variation(request, model, findings)
    parameters = RenderParameters(
        model=model.id,
        prompt=taken.prompt,
        negative_prompt=taken.negative_prompt,
        width=width,
        height=height,
        num_inference_steps=_steps(request, model, preset, recipe, findings),
        guidance_scale=_guidance(request, model, preset, recipe, findings),
        seed=resolve_seed(request.seed, 1 if variation.strength else request.num_images, findings),
        variation_seed=variation.seed,
        variation_strength=variation.strength,
        num_images=request.num_images,
        strict=request.strict,
        strength=_strength(request, model, findings),
        start_sigma=_start_sigma(request, model, findings),
        init_image=init_image,
        mask=_mask(request, model, mask, findings),
        mask_feather=_mask_feather(request, findings),
        preset=request.preset,
        recipe=request.recipe,
        loras=taken.loras,
        coherent=origin.coherent,
        parent=origin.parent,
        refine_mode=origin.refine_mode,
        upscaler=origin.upscaler,
    )
    findings.raise_if_any()
    if taken.loras:
        check_loras(taken.loras, model, loras)
    ignored = [warning for warning in (_strength_ignored(request, model), variation_ignored(request)) if warning]
    warnings = [*origin.warnings, *taken.warnings, *ignored, *advise(model, parameters)]
    return Normalised(parameters, _with_recipe(warnings, recipe, model, parameters))


def _with_recipe(
    warnings: list[str], recipe: FittedRecipe | None, model: CatalogueModel, parameters: RenderParameters
) -> list[str]:
    """Replace the warning of the cost by the recipe's where the job has the recipe's values."""
    values = (parameters.num_inference_steps, parameters.guidance_scale)
    if recipe is None or not recipe.warning or values != (recipe.num_inference_steps, recipe.guidance_scale):
        return warnings
    return [recipe.warning, *(warning for warning in warnings if warning != _cost(model, parameters))]


def _check_texts(request: RenderFields, prompt: str, limits: RequestLimits, findings: Findings) -> None:
    """Check the texts; `prompt` is the request's without LoRAs."""
    if not (prompt.strip() or limits.empty_prompt) and len(request.prompt) <= limits.max_prompt_chars:
        findings.add("prompt", "is empty: describe the image.")
    for field, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt or "")):
        if len(text) > limits.max_prompt_chars:
            findings.add(field, f"has {len(text)} characters: send at most {limits.max_prompt_chars}.")


def _check_count(num_images: int, limits: RequestLimits, findings: Findings) -> None:
    if not 1 <= num_images <= limits.max_images:
        findings.add("num_images", f"{num_images} is out of range: send 1 to {limits.max_images}, or several jobs.")


def _steps(
    request: RenderFields, model: CatalogueModel, preset: Preset | None, recipe: FittedRecipe | None, findings: Findings
) -> int:
    steps = request.num_inference_steps
    if steps is None and recipe is not None:
        steps = recipe.num_inference_steps
    if steps is None:
        steps = preset.steps_for(model) if preset is not None else model.defaults.num_inference_steps
    if not 1 <= steps <= model.limits.max_steps:
        findings.add(
            "num_inference_steps",
            f"{steps} is out of range: {model.id} takes 1 to {model.limits.max_steps}; "
            f"its default is {model.defaults.num_inference_steps}.",
        )
    return steps


def _guidance(
    request: RenderFields, model: CatalogueModel, preset: Preset | None, recipe: FittedRecipe | None, findings: Findings
) -> float:
    guidance = request.guidance_scale
    if guidance is None and recipe is not None:
        guidance = recipe.guidance_scale
    if guidance is None and preset is not None:
        guidance = preset.guidance_scale
    if guidance is None:
        guidance = model.defaults.guidance_scale
    if not 0 <= guidance <= model.limits.max_guidance_scale:
        findings.add(
            "guidance_scale",
            f"{guidance:g} is out of range: {model.id} takes 0 to {model.limits.max_guidance_scale:g}; 1.0 is off.",
        )
    return guidance


def _strength(request: RenderFields, model: CatalogueModel, findings: Findings) -> float | None:
    if request.init_image is None:
        if request.strength is not None:
            findings.add("strength", "belongs to image-to-image: send init_image with it, or leave it out.")
        return None
    if model.img2img == "none":
        findings.add("init_image", f"{model.id} does not start from an image: leave it out, or choose another model.")
    if model.img2img == "edit" or (request.start_sigma is not None and request.strength is None):
        return None
    default = DEFAULT_STRENGTH if request.mask is None else DEFAULT_INPAINT_STRENGTH
    strength = default if request.strength is None else request.strength
    if not 0 < strength <= 1:
        findings.add("strength", f"{strength:g} is out of range: send more than 0, at most 1.")
    return strength


def _start_sigma(request: RenderFields, model: CatalogueModel, findings: Findings) -> float | None:
    start = request.start_sigma
    if start is None:
        return None
    if not model.takes_start_sigma:
        instead = (
            "send strength instead" if model.img2img == "strength" else "it does not take strength either: leave both out"
        )
        findings.add("start_sigma", f"{model.id} cannot start at a noise level: {instead}.")
    elif request.init_image is None:
        findings.add("start_sigma", "belongs to image-to-image: send init_image with it, or leave it out.")
    if request.strength is not None:
        findings.add("start_sigma", "replaces strength: send one of them.")
    if not 0 < start <= 1:
        findings.add("start_sigma", f"{start:g} is out of range: send more than 0, at most 1.")
    return start


def _mask(request: RenderFields, model: CatalogueModel, mask: MaskImage | None, findings: Findings) -> MaskImage | None:
    if request.mask is None:
        return None
    if not model.takes_mask:
        findings.add("mask", f"{model.id} cannot repaint a part of an image: leave it out, or choose another model.")
    elif request.init_image is None:
        findings.add("mask", "belongs to inpainting: send init_image with it, or leave it out.")
    elif mask is not None and mask.white_share == 0:
        findings.add("mask", "is black everywhere, which leaves nothing to repaint: make white what is to change.")
    return mask


def _mask_feather(request: RenderFields, findings: Findings) -> int | None:
    feather = request.mask_feather
    if request.mask is None:
        if feather is not None:
            findings.add("mask_feather", "belongs to inpainting: send mask with it, or leave it out.")
        return None
    if feather is not None and not 0 <= feather <= MAX_FEATHER:
        findings.add("mask_feather", f"{feather} is out of range: send 0 to {MAX_FEATHER} pixels.")
    return feather or 0
