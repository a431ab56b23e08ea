"""Derive the request and the origin of a refinement from the parameters of its parent image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.catalogue import CatalogueModel
from core.catalogue.upscalers import LANCZOS
from core.errors import InvalidInput
from core.parameters.normalise import Origin
from core.parameters.parameters import InvalidParameters, Parent
from core.refine_mode import RefineMode
from core.render import NoiseSource
from core.schemas.jobs import JobRequest
from core.schemas.refine import RefineRequest

START_SIGMA = 0.5
"""Noise level of `hires` with Z-Image, which half of the parent's steps follow: 4 of 8."""
STRENGTH = 0.4
"""The same for models that take a strength."""
MIN_STEPS = 4
ENLARGED = 2

_INHERITED = ("prompt", "negative_prompt", "guidance_scale", "loras", "strict")
_CARRIED_OVER = ("priority", "deadline_seconds", "metadata", "webhook")


@dataclass(frozen=True)
class ParentImage:
    """The image to refine: its id, its size in pixels, and `input`, its job's parameters with the image's own seeds.

    `is_enlarged`: an upscaler made it, so that its seed does not describe its noise.
    """

    id: str
    width: int
    height: int
    input: Mapping[str, Any]
    is_enlarged: bool = False


@dataclass(frozen=True)
class Refinement:
    """A job's request, and what else the job is made of. `from_image`: it starts from the parent's pixels."""

    request: JobRequest
    origin: Origin
    from_image: bool


def refine(request: RefineRequest, parent: ParentImage, model: CatalogueModel) -> Refinement:
    """Return the refinement of an image that `model` rendered. Raises InvalidInput with what to do instead."""
    if parent.input.get("num_inference_steps") is None:
        raise InvalidInput("This image has no prompt to refine it with: enlarge it instead.", field="mode")
    _refuse_foreign_fields(request)
    if parent.is_enlarged and request.mode is not RefineMode.HIRES:
        raise InvalidInput(
            "This image was enlarged, so that no seed renders it: send mode hires, or refine the image that it was made "
            "from.",
            field="mode",
            code="refine_not_offered",
        )
    width, height = _size(request, parent, model)
    fields = {name: parent.input[name] for name in _INHERITED if name in parent.input}
    fields |= {name: getattr(request, name) for name in _CARRIED_OVER if name in request.model_fields_set}
    fields |= {
        "model": model.id,
        "width": width,
        "height": height,
        "num_images": request.num_images,
        "seed": parent.input["seed"] if request.seed is None else request.seed,
        "num_inference_steps": request.num_inference_steps or parent.input["num_inference_steps"],
    }
    origin = Origin(parent=Parent(image=parent.id, model=model.id), refine_mode=request.mode)
    if request.mode is RefineMode.HIRES:
        fields |= _hires(request, parent, model)
        _check_upscaler(request, parent, width, height)
        return _made(fields, replace(origin, upscaler=request.upscaler or LANCZOS), from_image=True)
    if request.mode is RefineMode.COHERENT:
        _check_coherent(parent, model, width, height)
        return _made(fields, replace(origin, coherent=noise_of(parent)), from_image=False)
    if request.seed is not None:
        raise InvalidInput("same_seed keeps the parent's seed: leave seed out, or choose another mode.", field="seed")
    kept = ("variation_seed", "variation_strength", "init_image", "mask", "mask_feather", "strength", "start_sigma")
    fields |= {name: parent.input[name] for name in kept if name in parent.input}
    return _made(fields, replace(origin, warnings=_new_composition(parent, width, height)), from_image=False)


def _made(fields: dict[str, Any], origin: Origin, *, from_image: bool) -> Refinement:
    return Refinement(JobRequest.model_validate(fields), origin, from_image)


def noise_of(parent: ParentImage) -> NoiseSource:
    """Return what the parent's starting noise was drawn from."""
    known = {name: parent.input[name] for name in NoiseSource.model_fields if parent.input.get(name) is not None}
    return NoiseSource.model_validate(known | {"width": parent.width, "height": parent.height})


def _refuse_foreign_fields(request: RefineRequest) -> None:
    """Refuse values that only `hires` uses, so that none is ignored in silence."""
    given = [name for name in ("upscaler", "start_sigma", "strength") if getattr(request, name) is not None]
    if given and request.mode is not RefineMode.HIRES:
        raise InvalidParameters(
            [(name, f"belongs to mode hires: leave it out of {request.mode.value}, or choose hires.") for name in given]
        )


def _size(request: RefineRequest, parent: ParentImage, model: CatalogueModel) -> tuple[int, int]:
    """Return the size in pixels: as sent, or with one side the other in proportion, or twice the parent's where it fits."""
    if request.width is not None and request.height is not None:
        return request.width, request.height
    limits = model.limits
    if request.width is not None:
        return request.width, _multiple(parent.height * request.width / parent.width, limits.multiple)
    if request.height is not None:
        return _multiple(parent.width * request.height / parent.height, limits.multiple), request.height
    largest = min(
        limits.max_side / max(parent.width, parent.height), (limits.max_pixels / (parent.width * parent.height)) ** 0.5
    )
    if request.mode is RefineMode.COHERENT and largest >= 1:
        # Whole multiples are needed, and a whole multiple of a side that fits is one that fits.
        factor = ENLARGED if largest >= ENLARGED else 1
        return parent.width * factor, parent.height * factor
    factor_down = min(ENLARGED, largest)
    sides = (int(side * factor_down) // limits.multiple * limits.multiple for side in (parent.width, parent.height))
    width, height = (max(side, limits.min_side) for side in sides)
    return width, height


def _multiple(side: float, multiple: int) -> int:
    return max(round(side / multiple), 1) * multiple


def _hires(request: RefineRequest, parent: ParentImage, model: CatalogueModel) -> dict[str, Any]:
    """Return the fields of image-to-image."""
    if model.img2img != "strength":
        does = "edits an image as the prompt says" if model.img2img == "edit" else "does not start from an image"
        raise InvalidInput(
            f"{model.id} {does}, so that it cannot render over an enlarged one: send mode same_seed for a new composition, "
            "or enlarge the image without rendering.",
            field="mode",
            code="refine_not_offered",
        )
    steps = parent.input["num_inference_steps"]
    start, strength = request.start_sigma, request.strength
    if start is None and strength is None:
        start, strength = (START_SIGMA, None) if model.takes_start_sigma else (None, STRENGTH)
    if request.num_inference_steps is not None:
        return {"start_sigma": start, "strength": strength}
    if start is not None:
        steps = max(min(steps, MIN_STEPS), round(steps * min(max(start, 0), 1)))
    elif strength is not None and 0 < strength <= 1:
        steps = min(max(steps, math.ceil(1 / strength)), model.limits.max_steps)
    return {"start_sigma": start, "strength": strength, "num_inference_steps": steps}


def _check_upscaler(request: RefineRequest, parent: ParentImage, width: int, height: int) -> None:
    if request.upscaler in (None, LANCZOS) or width > parent.width or height > parent.height:
        return
    raise InvalidParameters(
        [("upscaler", f"has nothing to enlarge at {width}x{height}: send a larger size, or leave it out.")]
    )


def _check_coherent(parent: ParentImage, model: CatalogueModel, width: int, height: int) -> None:
    """Raise InvalidInput when the parent's noise is unknown, or the new size is no whole multiple of its size."""
    if not model.takes_noise:
        raise InvalidInput(
            f"{model.id} draws its noise by itself, so that it cannot follow the parent's: send mode hires or same_seed.",
            field="mode",
            code="refine_not_offered",
        )
    if parent.input.get("init_image") is not None:
        raise InvalidInput(
            "This image was made from another image, which its noise alone does not describe: send mode hires, or refine "
            "the image that it was made from.",
            field="mode",
            code="refine_not_offered",
        )
    whole = width % parent.width == 0 and height % parent.height == 0
    if not whole or (width, height) == (parent.width, parent.height):
        raise InvalidParameters(
            [
                (
                    "width",
                    f"{width}x{height} is not a larger whole multiple of the parent's {parent.width}x{parent.height}, which "
                    f"coherent noise needs: send {parent.width * ENLARGED}x{parent.height * ENLARGED} if {model.id} renders "
                    "that, or mode hires.",
                )
            ]
        )


def _new_composition(parent: ParentImage, width: int, height: int) -> tuple[str, ...]:
    if (width, height) == (parent.width, parent.height):
        return ("This is the parent's own size: the same seed renders the same image again.",)
    return (
        f"This is a new composition: the same seed at {width}x{height} draws other noise than at "
        f"{parent.width}x{parent.height}, so the image differs from its parent. Mode hires keeps the parent's composition.",
    )
