"""Statuses as literals in SQL: with a parameter in their place neither planner can prove that a partial index serves."""

from __future__ import annotations

from sqlalchemy import ColumnElement, literal_column

from core.lifecycle import JobStatus
from db.tables import Job


def has_status(status: JobStatus) -> ColumnElement[bool]:
    """`status = '...'`, the value written out."""
    return Job.status == literal_column(f"'{JobStatus(status).value}'")


QUEUED = has_status(JobStatus.QUEUED)
RUNNING = has_status(JobStatus.RUNNING)
