"""Noise levels of a Z-Image render that begins in the middle."""

from __future__ import annotations

import torch

from core.errors import InvalidInput
from core.render import RenderRequest
from worker.pipelines.untyped import Scheduler

_OTHER_SCHEDULES = (
    "use_dynamic_shifting",
    "shift_terminal",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
)


def sigmas_before_shift(steps: int, start: float, shift: float) -> list[float]:
    """What to give the scheduler so that it shifts the first to `start` (0..1); they fall evenly, and 0 follows the last.

    The scheduler makes shift * s / (1 + (shift - 1) * s) of each. From 1.0 they are ZImagePipeline's own, to the bit.
    """
    first = start / (shift - (shift - 1) * start)
    sigmas: list[float] = torch.linspace(first, first / steps, steps).tolist()
    return sigmas


def check_start_sigma(request: RenderRequest, scheduler: Scheduler, has_init_image: bool) -> None:
    """InvalidInput when the request asks for a start that it or the scheduler does not allow."""
    start = request.start_sigma
    if start is None:
        return
    if not has_init_image:
        raise InvalidInput("start_sigma belongs to image-to-image: send an input image with it.", field="start_sigma")
    if request.strength is not None:
        raise InvalidInput("start_sigma stands in place of strength: send one of them.", field="start_sigma")
    if not 0 < start <= 1:
        raise InvalidInput(f"start_sigma must be above 0 and at most 1; {start} is not.", field="start_sigma")
    if any(scheduler.config.get(name) for name in _OTHER_SCHEDULES):
        raise InvalidInput(
            "This model's scheduler does not begin at a noise level that can be named: send strength instead.",
            field="start_sigma",
        )
