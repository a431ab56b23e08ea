"""Choose an image size, from one text or two numbers, and check it against the model's limits."""

from __future__ import annotations

import re

from core.catalogue import CatalogueModel, Limits
from core.parameters.parameters import Findings, InitImage
from core.presets import Preset
from core.schemas.jobs import RenderFields

_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX×*]\s*(\d{1,5})\s*", re.ASCII)


def choose_size(
    request: RenderFields, model: CatalogueModel, preset: Preset | None, init_image: InitImage | None, findings: Findings
) -> tuple[int, int]:
    """Return (width, height) in pixels: the request's, else the preset's, else the init image's, else the model's."""
    if request.size is not None:
        if request.width is not None or request.height is not None:
            findings.add("size", "size and width/height are alternatives: send one of them.")
        if (parsed := parse_size(request.size, findings)) is not None:
            return parsed
    preset_width, preset_height = (preset.width, preset.height) if preset is not None else (None, None)
    start_width, start_height = _size_of(init_image, model)
    return (
        _first(request.width, preset_width, start_width, model.defaults.width),
        _first(request.height, preset_height, start_height, model.defaults.height),
    )


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _size_of(init_image: InitImage | None, model: CatalogueModel) -> tuple[int | None, int | None]:
    """Return an init image's size, scaled and rounded to sides that the model can render."""
    if init_image is None:
        return None, None
    scale = min(1.0, (model.limits.max_pixels / (init_image.width * init_image.height)) ** 0.5)
    return _fitting(init_image.width * scale, model.limits), _fitting(init_image.height * scale, model.limits)


def _fitting(side: float, limits: Limits) -> int:
    return min(max(int(side) // limits.multiple * limits.multiple, limits.min_side), limits.max_side)


def parse_size(size: str, findings: Findings) -> tuple[int, int] | None:
    """Parse `512x768` to (width, height) in pixels; add a finding and return None for any other text."""
    match = _SIZE.fullmatch(size)
    if match is None:
        findings.add("size", f"'{size}' is not a size: send width x height in pixels, such as \"512x512\".")
        return None
    return int(match[1]), int(match[2])


def check_size(width: int, height: int, model: CatalogueModel, findings: Findings) -> None:
    """Add findings for sides and areas that the model cannot render."""
    sides_fit = all(
        [_check_side("width", width, model, findings), _check_side("height", height, model, findings)],
    )
    if sides_fit and width * height > model.limits.max_pixels:
        findings.add(
            "size",
            f"{width}x{height} is {width * height} pixels; {model.id} renders at most {model.limits.max_pixels}, "
            f"such as {_largest_square(model.limits)}.",
        )


def _check_side(field: str, side: int, model: CatalogueModel, findings: Findings) -> bool:
    limits = model.limits
    if not limits.min_side <= side <= limits.max_side:
        findings.add(field, f"{side} is out of range: {model.id} takes {limits.min_side} to {limits.max_side} pixels.")
        return False
    if side % limits.multiple:
        findings.add(
            field, f"{side} is not a multiple of {limits.multiple}, as {model.id} needs: use {_neighbours(side, limits)}."
        )
        return False
    return True


def _neighbours(side: int, limits: Limits) -> str:
    below = side // limits.multiple * limits.multiple
    fitting = [value for value in (below, below + limits.multiple) if limits.min_side <= value <= limits.max_side]
    return " or ".join(map(str, fitting))


def _largest_square(limits: Limits) -> str:
    side = min(int(limits.max_pixels**0.5), limits.max_side) // limits.multiple * limits.multiple
    return f"{side}x{side}"
