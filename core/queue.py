"""Queue contract of API, reaper and workers: queue names, Redis keys and Celery's shared options.

The database is the truth; a message in the broker is only a *hint* that there is work for a model. A hint is a token: the
worker that takes it claims the best job of that model in fair order, which need not be the job that the hint was sent for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.json_text import dump_json
from core.lifecycle import SETTLED
from core.redis_sentinel import ASKING, is_sentinel_url, parse_sentinel_url

if TYPE_CHECKING:
    from core.settings import Settings

RENDER_TASK = "imagefarm.render"
UPSCALE = "upscale"
"""Stands in the place of a model for jobs that enlarge images: their queue, and the workers that serve it."""
HINTS_PER_SLOT = 4
"""Hints in Redis for each job that a worker can hold: enough to keep workers busy, few enough to lose without harm."""
MIN_WINDOW = 32
"""Minimum window of hints for a model, even while no live worker serves it."""
PROMPT_SHOWN_CHARS = 80

PRIORITY_LOWEST, PRIORITY_DEFAULT, PRIORITY_HIGHEST = 0, 5, 9


def render_queue(model: str) -> str:
    """Return the name of the Celery queue of a model."""
    return f"render.{model}"


@dataclass(frozen=True)
class RedisKeys:
    """Keys and channels under the farm's prefix. They hold only what may be lost without harm, never state."""

    prefix: str

    @property
    def epoch(self) -> str:
        """Key that is set once for each new Redis data set; when it is missing, the server lost its hints."""
        return f"{self.prefix}epoch"

    @property
    def probe(self) -> str:
        """Key that readiness checks write."""
        return f"{self.prefix}probe"

    @property
    def changes(self) -> str:
        """Channel: JSON `[{"job": id, "revision": n, "status": s}, ...]` after committed changes of jobs.

        `"webhook"`, of settled jobs: whether the request names a webhook. Earlier versions do not say it.
        """
        return f"{self.prefix}changes"

    @property
    def cancels(self) -> str:
        """Channel: the id of a running job with a cancel request, so that its worker need not wait for a heartbeat."""
        return f"{self.prefix}cancels"

    @property
    def wanted(self) -> str:
        """Channel: the model that jobs wait for while no live worker serves it, repeated until one does."""
        return f"{self.prefix}wanted"

    def idle_workers(self, model: str) -> str:
        """Key: JSON `[[name, seconds alone], ...]` of idle workers of the model, for a moment."""
        return f"{self.prefix}idle:{model}"

    def idle_workers_turn(self, model: str) -> str:
        """Key: present while the list of idle workers is fresh, or while the worker that has set it renews the list."""
        return f"{self.prefix}idle-turn:{model}"

    def progress(self, job_id: str) -> str:
        """Key and channel: JSON `{"step", "steps", "value", "seconds_per_step", "eta_seconds", "attempt"}`, with a TTL."""
        return f"{self.prefix}progress:{job_id}"

    def preview(self, job_id: str, index: int) -> str:
        """Key: bytes of a small JPEG or PNG, with a TTL."""
        return f"{self.prefix}preview:{job_id}:{index}"


PROGRESS_TTL_SECONDS = 600


def window_size(slots: int) -> int:
    """Return how many hints of a model may be in the broker when its live workers can hold `slots` jobs in all."""
    return max(MIN_WINDOW, HINTS_PER_SLOT * slots)


@dataclass(frozen=True)
class JobChange:
    """A committed change of a job. `has_webhook`: whether its request names a webhook."""

    job_id: str
    revision: int
    status: str
    has_webhook: bool


def changes_message(changes: Iterable[JobChange]) -> bytes:
    """Return one message for the `changes` channel."""
    return dump_json([_change(each) for each in changes])


def _change(change: JobChange) -> dict[str, Any]:
    fields = {"job": change.job_id, "revision": change.revision, "status": change.status}
    return fields | {"webhook": change.has_webhook} if change.status in SETTLED else fields


def flower_kwargs(model: str, render_input: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hint's keyword arguments, which Flower shows to operators."""
    prompt = str(render_input.get("prompt", ""))
    shown = {
        "prompt": prompt if len(prompt) <= PROMPT_SHOWN_CHARS else prompt[: PROMPT_SHOWN_CHARS - 1] + "…",
        "model": model,
        "size": f"{render_input.get('width')}x{render_input.get('height')}",
    }
    if model == UPSCALE:
        return shown | {"upscaler": render_input.get("upscaler"), "scale": render_input.get("scale")}
    return shown | {
        "steps": render_input.get("num_inference_steps"),
        "seed": render_input.get("seed"),
    }


def broker_transport_options(settings: Settings) -> dict[str, Any]:
    """Return Kombu's options for the Redis transport.

    Worker, publisher and Flower must use the same prefix and priority steps, or they see different queues.
    `priority_steps` lists all ten: the default merges 0-2, 3-5, ... In Redis, step 0 is taken first.
    The visibility timeout may be long: the reaper redelivers from the database, so nothing depends on it.
    """
    sentinel: dict[str, Any] = {}
    if is_sentinel_url(settings.redis_url):
        sentinel = {"master_name": parse_sentinel_url(settings.redis_url).master, "sentinel_kwargs": dict(ASKING)}
    return {
        **sentinel,
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


def broker_url(redis_url: str) -> str:
    """Return the URL for Celery: it checks certificates, which it would not without the option."""
    if is_sentinel_url(redis_url):
        return parse_sentinel_url(redis_url).broker_url
    parts = urlsplit(redis_url)
    if parts.scheme != "rediss" or "ssl_cert_reqs=" in parts.query:
        return redis_url
    return f"{redis_url}{'&' if parts.query else '?'}ssl_cert_reqs=required"


CELERY_HEARTBEAT_SECONDS = 5.0
"""Interval of the events by which Flower sees that a worker lives; the farm itself reads the worker's row."""


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return the Celery configuration that the worker, the publisher and Flower share, as plain data without Celery.

    JSON only: messages of any other serializer are refused, never executed. No result backend: the database is the truth.
    A publish fails fast (one retry), because the reaper publishes again what the broker did not accept.
    """
    return {
        "broker_url": broker_url(settings.redis_url),
        "broker_transport_options": broker_transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Errors that the server answers with (read-only replica, out of memory, wrong password) end with a reconnect too.
        "broker_channel_error_retry": True,
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
