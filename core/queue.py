"""Queue contract of API, reaper and workers: queue names, Redis keys and Celery's shared options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.settings import Settings

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


def flower_kwargs(model: str, render_input: Mapping[str, Any]) -> dict[str, Any]:
    """The hint's keyword arguments: what an operator wants to see of a job in Flower's columns."""
    prompt = str(render_input.get("prompt", ""))
    return {
        "prompt": prompt if len(prompt) <= PROMPT_SHOWN_CHARS else prompt[: PROMPT_SHOWN_CHARS - 1] + "…",
        "model": model,
        "size": f"{render_input.get('width')}x{render_input.get('height')}",
        "steps": render_input.get("num_inference_steps"),
        "seed": render_input.get("seed"),
    }


def broker_transport_options(settings: Settings) -> dict[str, Any]:
    """Kombu's Redis transport options.

    Worker, publisher and Flower must use the same prefix and priority steps, or they see different queues.
    `priority_steps` lists all ten: the default merges 0-2, 3-5, ... In Redis, step 0 is taken first.
    Redelivery by visibility timeout is not relied upon (the reaper does that from the database), so it may be long.
    """
    return {
        "global_keyprefix": settings.redis_prefix,
        "queue_order_strategy": "priority",
        "priority_steps": list(range(10)),
        "visibility_timeout": 3600,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's configuration shared by the worker, the publisher and Flower.

    JSON only: a message in any other serializer is refused, never executed. No result backend: the database is the truth.
    A publish fails fast (one retry), because the reaper publishes again what the broker did not take.
    """
    return {
        "broker_url": settings.redis_url,
        "broker_transport_options": broker_transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }
