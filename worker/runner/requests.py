"""From a job's normalised input to the engine's requests, one an image."""

from __future__ import annotations

from core.render import RenderRequest
from core.settings import Settings
from worker.runner.attempt import RunningAttempt

_TAKEN = frozenset(RenderRequest.model_fields) - {"id", "seed", "has_init_image", "preview_every"}


def render_requests(attempt: RunningAttempt, settings: Settings) -> list[RenderRequest]:
    """Image i of the job gets seed + i; fields the engine does not know stay in the job."""
    given = attempt.job.input
    common = {name: value for name, value in given.items() if name in _TAKEN}
    return [
        RenderRequest(
            id=attempt.request_id(index),
            seed=int(given["seed"]) + index,
            has_init_image=bool(given.get("init_image")),
            preview_every=settings.preview_every,
            **common,
        )
        for index in range(int(given.get("num_images", 1)))
    ]
