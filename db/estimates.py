"""Recent jobs of a model, to estimate what the next one takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from core.lifecycle import JobKind
from db.database import Database
from db.sql import QUEUED
from db.tables import Image, Job

RECENT = 40
MAX_AHEAD = 1000


@dataclass(frozen=True)
class RecentJob:
    """What a job rendered, how long that took, the record of one of its images, and where it was rendered."""

    input: Mapping[str, Any]
    seconds: float
    record: Mapping[str, Any]
    worker: str | None = None


def recent_jobs(database: Database, model: str) -> Sequence[RecentJob]:
    """Return the last succeeded jobs of a model that has images, newest first; reads RECENT rows at most."""
    last = (
        select(Image.job_id, Image.record)
        .join(Job, Job.id == Image.job_id)
        .where(Job.model == model, Job.kind == JobKind.RENDER.value, Image.index == 0)
        .order_by(Image.id.desc())
        .limit(RECENT)
        .subquery()
    )
    query = select(Job.input, Job.timings, last.c.record, Job.worker).join(last, last.c.job_id == Job.id)
    with database.read() as session:
        return [
            RecentJob(given, float(timings["rendering_seconds"]), record or {}, worker)
            for given, timings, record, worker in session.execute(query.order_by(Job.id.desc()))
            if timings and timings.get("rendering_seconds")
        ]


def queued_ahead(database: Database, model: str, priority: int) -> int:
    """Count the queued jobs of a model that are as urgent or more, up to MAX_AHEAD."""
    ahead = select(Job.id).where(QUEUED, Job.model == model, Job.priority >= priority).limit(MAX_AHEAD)
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(ahead.subquery())) or 0
