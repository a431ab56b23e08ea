"""Check finished images before they are stored: black ones fail, and the safety hook may tag, blur or reject them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PIL import Image, ImageFilter

from core.errors import RenderError
from core.render import RenderRequest, SafetyRecord
from worker.engine.messages import Rendered
from worker.runner.attempts import RunningAttempt, image_index_of
from worker.safety_hook import SafetyHook

NEAR_BLACK, SAME = 4, 1
"""Levels of 255: the brightest value that counts as black, and the largest difference within a plain channel."""
BLUR_SHARE = 1 / 16
"""Radius of the blur, as a share of the longer side: shapes cannot be recognised."""


def is_black(image: Image.Image) -> bool:
    """Return whether an RGB image is one plain colour near black."""
    extremes = image.getextrema()
    return all(high <= NEAR_BLACK and high - low <= SAME for low, high in extremes)  # type: ignore[misc]


class ImageGuard:
    """Thread-safe if the hook is. Without a hook only black images are found."""

    def __init__(self, hook: SafetyHook | None = None) -> None:
        self._hook = hook

    def check(
        self, attempt: RunningAttempt, request: RenderRequest, rendered: Rendered, *, may_be_black: bool = False
    ) -> Rendered:
        """Return the image to store.

        Raise RenderError `black_image`, unless the image `may_be_black` because it starts from a black one,
        `safety_rejected`, or `safety_hook_failed`.
        """
        image = Image.frombytes("RGB", (rendered.width, rendered.height), rendered.pixels)
        if not may_be_black and is_black(image):
            raise RenderError(
                "The image is black all over, which is what overflowed numbers look like. The same request would be black "
                "again: change the seed, steps or guidance.",
                code="black_image",
            )
        return rendered if self._hook is None else self._judged(self._hook, attempt, request, rendered, image)

    @staticmethod
    def _judged(
        hook: SafetyHook, attempt: RunningAttempt, request: RenderRequest, rendered: Rendered, image: Image.Image
    ) -> Rendered:
        verdict = hook.judge(image.copy(), fields_for_hook(attempt, request, rendered))
        labels = list(verdict.labels)
        match verdict.action:
            case "ok":
                return rendered
            case "reject":
                reasons = f" ({', '.join(labels)})" if labels else ""
                raise RenderError(f"The farm's safety hook rejected the image{reasons}.", code="safety_rejected")
            case "tag":
                record = rendered.record.model_copy(update={"safety": SafetyRecord(action="tag", labels=labels)})
                return replace(rendered, record=record)
        index = image_index_of(rendered.request_id)
        reasons = f": {', '.join(labels)}" if labels else ""
        update: dict[str, Any] = {
            "safety": SafetyRecord(action="blur", labels=labels),
            "warnings": [*rendered.record.warnings, f"The farm's safety hook blurred image {index}{reasons}."],
        }
        radius = max(image.size) * BLUR_SHARE
        pixels = image.filter(ImageFilter.GaussianBlur(radius)).tobytes()
        return replace(rendered, pixels=pixels, record=rendered.record.model_copy(update=update))


def fields_for_hook(attempt: RunningAttempt, request: RenderRequest, rendered: Rendered) -> dict[str, Any]:
    """Return what a hook may know of an image: its job, owner, model and parameters."""
    job = attempt.job
    return {
        "job_id": job.id,
        "index": image_index_of(rendered.request_id),
        "owner": job.owner,
        "model": job.model,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "width": rendered.width,
        "height": rendered.height,
        "seed": request.seed,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "has_init_image": request.has_init_image,
        "strength": request.strength,
    }
