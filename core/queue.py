"""The queue contract: names of Celery queues, tasks and Redis keys that API, reaper and workers agree on.

The database is the truth; a message is only a hint that there is work for a model. A hint is a token: the worker that takes
it claims the best job of that model in fair order, which need not be the job that the hint was sent for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RENDER_TASK = "imagefarm.render"
HINTS_PER_SLOT = 4
"""Hints that Redis may hold for each job a worker can take: enough that no worker waits, too few to matter when lost."""
MIN_WINDOW = 32
"""Hints that may be out for a model at the least, even while no live worker serves it."""
PROMPT_SHOWN_CHARS = 80

PRIORITY_LOWEST, PRIORITY_DEFAULT, PRIORITY_HIGHEST = 0, 5, 9


def render_queue(model: str) -> str:
    """The Celery queue of one model."""
    return f"render.{model}"


def worker_queue(worker: str) -> str:
    """A worker's private queue: it listens there from its first second, so that it can be controlled while it loads."""
    return f"worker.{worker}"


@dataclass(frozen=True)
class RedisKeys:
    """Keys and channels under the farm's prefix. State never lives here: only what may be lost without harm."""

    prefix: str

    @property
    def epoch(self) -> str:
        """Set once per life of the Redis data; missing means the server lost its hints."""
        return f"{self.prefix}epoch"

    @property
    def changes(self) -> str:
        """Channel: JSON `{"job": id, "revision": n, "status": s}` after each committed change of a job."""
        return f"{self.prefix}changes"

    @property
    def cancels(self) -> str:
        """Channel: the id of a running job that somebody asked to cancel: its worker need not wait for a heartbeat."""
        return f"{self.prefix}cancels"

    def progress(self, job_id: str) -> str:
        """Key and channel: JSON `{"step", "steps", "value", "seconds_per_step", "eta_seconds", "attempt"}`, with a TTL."""
        return f"{self.prefix}progress:{job_id}"

    def preview(self, job_id: str, index: int) -> str:
        """Key: bytes of a small JPEG or PNG, with a TTL."""
        return f"{self.prefix}preview:{job_id}:{index}"


PROGRESS_TTL_SECONDS = 600


def window_size(slots: int) -> int:
    """How many hints of a model may be out when its live workers have `slots` places for jobs in all."""
    return max(MIN_WINDOW, HINTS_PER_SLOT * slots)


def change_message(job_id: str, revision: int, status: str) -> str:
    """What goes over the `changes` channel."""
    return json.dumps({"job": job_id, "revision": revision, "status": status})


def shown_in_flower(model: str, render_input: Mapping[str, Any]) -> dict[str, Any]:
    """The hint's keyword arguments: what an operator wants to see of a job in Flower's columns."""
    prompt = str(render_input.get("prompt", ""))
    return {
        "prompt": prompt if len(prompt) <= PROMPT_SHOWN_CHARS else prompt[: PROMPT_SHOWN_CHARS - 1] + "…",
        "model": model,
        "size": f"{render_input.get('width')}x{render_input.get('height')}",
        "steps": render_input.get("num_inference_steps"),
        "seed": render_input.get("seed"),
    }
