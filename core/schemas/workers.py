"""Schemas of workers and of the queue."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from core.schemas.base import ResponseBody


class ModelOfWorker(ResponseBody):
    """A model that a worker serves. `state`: loaded, loading, host_memory, on_disk or unavailable, for what `message` says.

    `load_seconds`: how long it took to load there last, from host memory if it has been there.
    """

    id: str
    state: str
    message: str | None = None
    load_seconds: float | None = None


class Worker(ResponseBody):
    """A render worker. `state`: loading, ready, blocked, unloaded, draining, paused, quarantined, stopped, failed or lost.

    A lost worker was not seen lately. `model` is the loaded one, or the one that is being loaded; `models` are all that it
    serves, the default first. An unloaded worker has no model in memory and loads one for the next job. A blocked worker
    claims no jobs until what `message` names works again, such as the storage. A quarantined worker has failed several
    different jobs in a row: it claims nothing until `quarantined_until`, then one job at a time until one succeeds.
    """

    name: str
    state: str
    live: bool
    message: str | None
    host: str = Field(description="Name of its machine.")
    version: str | None = Field(None, description="The version of imagefarm that it runs.")
    quarantined_until: datetime | None = None
    model: str
    models: list[ModelOfWorker] = Field(default_factory=list)
    device: str
    capacity: int
    running: int
    info: dict[str, Any] = Field(
        description="About its engine: device, memory, versions; load_seconds, first_image and later_images, each with "
        "seconds from joining a micro-batch to the image, sizes and steps; speed, seconds for a megapixel and a step: with "
        "the images that shared the engine lately, and for one that is alone."
    )
    started_at: datetime
    seen_at: datetime


class WorkerList(ResponseBody):
    """GET /v1/workers."""

    items: list[Worker]


class QueueOfModel(ResponseBody):
    """Queued and running jobs of one model, and the workers that serve it."""

    model: str
    queued: int
    running: int
    held: int
    live_workers: int
    capacity: int
    seconds_per_job: float | None
    eta_seconds: float | None
    reason: str | None = None


class Queue(ResponseBody):
    """GET /v1/queue."""

    queued: int
    running: int
    held: int
    models: list[QueueOfModel]
