"""The tables."""

from db.tables.attempt import Attempt
from db.tables.base import Base
from db.tables.exclusion import JobExclusion
from db.tables.idempotency import IdempotencyKey
from db.tables.image import Image
from db.tables.job import Job
from db.tables.job_event import JobEvent
from db.tables.tombstone import Tombstone
from db.tables.worker import Worker

__all__ = [
    "Attempt",
    "Base",
    "IdempotencyKey",
    "Image",
    "Job",
    "JobEvent",
    "JobExclusion",
    "Tombstone",
    "Worker",
]
