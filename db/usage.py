"""Sum usage by day and owner."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Integer, cast, func, select

from core.lifecycle import JobStatus
from db.database import Database
from db.sql import now
from db.tables import Image, Job

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class DailyUsage:
    """Usage of one owner on one day; `day` counts from 1970-01-01 (UTC)."""

    day: int
    owner: str
    jobs: int
    images: int
    pixels: int
    render_seconds: float


def usage(database: Database, days: int, owner: str | None = None) -> list[DailyUsage]:
    """Return usage of the last `days` days including today, latest first; days without a finished job are left out."""
    pixels = _pixels(database, days, owner)
    return [
        DailyUsage(day, name, jobs, *pixels.get((day, name), (0, 0)), seconds)
        for (day, name), (jobs, seconds) in sorted(_jobs(database, days, owner).items(), reverse=True)
    ]


def _jobs(database: Database, days: int, owner: str | None) -> dict[tuple[int, str], tuple[int, float]]:
    day = cast(func.floor(Job.completed_at / DAY_SECONDS), Integer)
    query = (
        select(day, Job.owner, func.count(), func.sum(Job.completed_at - Job.started_at))
        .where(Job.completed_at >= _first_second(days), Job.status == JobStatus.SUCCEEDED)
        .group_by(day, Job.owner)
    )
    query = query.where(Job.owner == owner) if owner is not None else query
    with database.read() as session:
        return {(key, name): (jobs, float(seconds or 0)) for key, name, jobs, seconds in session.execute(query)}


def _pixels(database: Database, days: int, owner: str | None) -> dict[tuple[int, str], tuple[int, int]]:
    day = cast(func.floor(Image.created_at / DAY_SECONDS), Integer)
    query = (
        select(day, Image.owner, func.count(), func.sum(Image.width * Image.height))
        .where(Image.created_at >= _first_second(days))
        .group_by(day, Image.owner)
    )
    query = query.where(Image.owner == owner) if owner is not None else query
    with database.read() as session:
        return {(key, name): (images, int(pixels)) for key, name, images, pixels in session.execute(query)}


def _first_second(days: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- an SQL expression
    return (func.floor(now() / DAY_SECONDS) - (days - 1)) * DAY_SECONDS
