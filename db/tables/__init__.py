"""The tables."""

from db.tables.api_key import ApiKey, QuotaCounter
from db.tables.attempt import Attempt
from db.tables.base import Base, core_table
from db.tables.batch import Batch, BatchJob
from db.tables.exclusion import JobExclusion
from db.tables.idempotency import IdempotencyKey
from db.tables.image import Image
from db.tables.job import Job
from db.tables.job_event import JobEvent
from db.tables.tombstone import Tombstone
from db.tables.upload import Upload
from db.tables.webhook import WebhookCursor, WebhookDelivery, WebhookEndpoint
from db.tables.worker import Worker

__all__ = [
    "ApiKey",
    "Attempt",
    "Base",
    "Batch",
    "BatchJob",
    "IdempotencyKey",
    "Image",
    "Job",
    "JobEvent",
    "JobExclusion",
    "QuotaCounter",
    "Tombstone",
    "Upload",
    "WebhookCursor",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
    "core_table",
]
