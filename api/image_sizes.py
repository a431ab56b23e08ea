"""Refuse sizes that no live worker's memory holds."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from api.overview import Overview
from core.catalogue import GUIDANCE_OFF, CatalogueModel
from core.errors import InvalidInput
from core.parameters import RenderParameters
from db.tables import Worker


def check_memory(parameters: RenderParameters, model: CatalogueModel, overview: Overview) -> None:
    """Raise InvalidInput `size_too_large` when every live worker of the model reports a smaller largest size.

    A worker that has not loaded the model does not know yet: then nothing is refused, and the worker decides.
    """
    guided = model.guidance_is_on(parameters.guidance_scale)
    largest = overview.once(("largest", model.id, guided), lambda: _largest_reported(model.id, guided, overview))
    if largest is None:
        return
    most, worker = largest
    if parameters.width * parameters.height <= most:
        return
    raise InvalidInput(
        f"{parameters.width}x{parameters.height}{' with guidance' if guided else ''} needs more memory than any worker of "
        f"{model.id} has. The largest that fits is {_largest(most, parameters, model)} (on {worker}): send that or less.",
        field="size",
        code="size_too_large",
    )


def _largest_reported(model: str, guided: bool, overview: Overview) -> tuple[int, str] | None:
    """Return the most pixels of a live worker and its name; None where one does not know yet."""
    reported = [(largest_pixels(worker, model, guided=guided), worker.name) for worker in overview.serving(model)]
    return max(reported) if reported and all(pixels for pixels, _ in reported) else None


def fits(worker: Worker, model: str, given: Mapping[str, Any]) -> bool:
    """Return whether a job with these normalised parameters fits on a worker, as far as it has reported a limit."""
    most = largest_pixels(worker, model, guided=float(given.get("guidance_scale") or 0.0) > GUIDANCE_OFF)
    return not most or int(given.get("width") or 0) * int(given.get("height") or 0) <= most


def largest_pixels(worker: Worker, model: str, *, guided: bool) -> int:
    """Return the pixels that a worker reports for a model; 0 when it has reported none."""
    if worker.info.get("model") != model:
        return 0
    return int(worker.info.get("max_pixels_guided" if guided else "max_pixels") or 0)


def _largest(pixels: int, parameters: RenderParameters, model: CatalogueModel) -> str:
    """Return the largest size of the request's shape, such as `1024x768`; the largest square for an extreme shape."""
    limits = model.limits
    scale = (pixels / (parameters.width * parameters.height)) ** 0.5
    sides = [int(side * scale) // limits.multiple * limits.multiple for side in (parameters.width, parameters.height)]
    if not all(limits.min_side <= side <= limits.max_side for side in sides):
        sides = [isqrt(pixels) // limits.multiple * limits.multiple] * 2
    return f"{sides[0]}x{sides[1]}"
