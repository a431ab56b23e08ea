"""Usage by day and owner: added when a job succeeds, subtracted when it is deleted, in the same transactions."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from sqlalchemy import CTE, BigInteger, ColumnElement, Integer, cast, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from core.lifecycle import JobStatus
from db.database import Database
from db.prepared import Prepared, Transaction, connection_of, core_table
from db.sql import now
from db.tables import Image, Job, UsageDay

DAY_SECONDS = 86_400
PARTS = 16
"""Rows of one owner and day that workers share; see db.tables.usage."""
DELETIONS = -1
"""The part that deletions are subtracted from."""
_SUMS = ("jobs", "images", "pixels", "render_seconds")


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
    jobs = func.sum(UsageDay.jobs)
    sums = (jobs, func.sum(UsageDay.images), func.sum(UsageDay.pixels), func.sum(UsageDay.render_seconds))
    query = (
        select(UsageDay.day, UsageDay.owner, sums[0], sums[1], sums[2], sums[3])
        .where(UsageDay.day > _today() - days)
        .group_by(UsageDay.day, UsageDay.owner)
        .having(jobs > 0)
    )
    query = query.where(UsageDay.owner == owner) if owner is not None else query
    with database.read() as session:
        rows = [
            DailyUsage(day, name, int(jobs), int(images), int(pixels), max(float(seconds), 0.0))
            for day, name, jobs, images, pixels, seconds in session.execute(query)
        ]
    return sorted(rows, key=lambda row: (row.day, row.owner), reverse=True)


def _today() -> ColumnElement[int]:
    return cast(func.floor(now() / DAY_SECONDS), Integer)


@dataclass
class UsageChange:
    """Changes of several owners' and days' usage, written together at the end of a transaction."""

    _sums: dict[tuple[str, int, int], list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0.0]))

    def add_job(self, job: Job, sizes: Iterable[tuple[int, int]]) -> None:
        """Count a job that has just succeeded, and its images by (width, height)."""
        part = zlib.crc32((job.worker or "").encode()) % PARTS
        sizes = list(sizes)
        self._add(job, part, 1, len(sizes), sum(width * height for width, height in sizes))

    def subtract_job(self, job: Job) -> None:
        """Subtract a deleted job; its images are subtracted one by one."""
        if job.status == JobStatus.SUCCEEDED:
            self._add(job, DELETIONS, -1, 0, 0)

    def subtract_image(self, job: Job, image: Image) -> None:
        """Subtract a deleted image of the job."""
        if job.status == JobStatus.SUCCEEDED:
            self._add(job, DELETIONS, 0, -1, -image.width * image.height)

    def _add(self, job: Job, part: int, jobs: int, images: int, pixels: int) -> None:
        if job.completed_at is None:
            return
        row = self._sums[job.owner, int(job.completed_at // DAY_SECONDS), part]
        seconds = job.completed_at - (job.completed_at if job.started_at is None else job.started_at)
        for index, number in enumerate((jobs, images, pixels, jobs * seconds)):
            row[index] += number

    def write(self, session: Transaction) -> None:
        """Add the changes to the table: last in the transaction, as others wait for the rows, and in one order for all."""
        rows = [
            dict(zip(("owner", "day", "part", *_SUMS), (*key, *sums), strict=True))
            for key, sums in sorted(self._sums.items())
        ]
        if rows:
            _addition(connection_of(session).dialect.name).run(session, rows if len(rows) > 1 else rows[0])


def adding(ended: CTE, images: CTE) -> postgresql.Insert:
    """Return the statement that adds jobs which have just succeeded, with their images, for Postgres.

    In one order for all, as others wait for the rows.
    """
    pixels = func.sum(cast(images.c.width, BigInteger) * images.c.height)
    of_job = (
        select(images.c.job_id, func.count().label("images"), pixels.label("pixels")).group_by(images.c.job_id).subquery()
    )
    key = (
        cast(func.floor(ended.c.completed_at / DAY_SECONDS), Integer),
        ended.c.owner,
        func.hashtext(ended.c.worker).op("&")(literal_column(str(PARTS - 1))),
    )
    seconds = ended.c.completed_at - func.coalesce(ended.c.started_at, ended.c.completed_at)
    sums = (
        func.count(),
        *(func.coalesce(func.sum(each), 0) for each in (of_job.c.images, of_job.c.pixels)),
        func.sum(seconds),
    )
    added = select(*key, *sums).join_from(ended, of_job, of_job.c.job_id == ended.c.id, isouter=True)
    table = core_table(UsageDay)
    insertion = postgresql.insert(table).from_select(["day", "owner", "part", *_SUMS], added.group_by(*key).order_by(*key))
    changes = {name: table.c[name] + insertion.excluded[name] for name in _SUMS}
    return insertion.on_conflict_do_update(index_elements=["day", "owner", "part"], set_=changes)


@cache
def _addition(dialect: str) -> Prepared:
    return Prepared(_upsert(dialect))


def _upsert(dialect: str) -> postgresql.Insert | sqlite.Insert:
    table = core_table(UsageDay)
    if dialect == "postgresql":
        on_postgres = postgresql.insert(table)
        changes = {name: table.c[name] + on_postgres.excluded[name] for name in _SUMS}
        return on_postgres.on_conflict_do_update(index_elements=["day", "owner", "part"], set_=changes)
    on_sqlite = sqlite.insert(table)
    changes = {name: table.c[name] + on_sqlite.excluded[name] for name in _SUMS}
    return on_sqlite.on_conflict_do_update(index_elements=["day", "owner", "part"], set_=changes)
