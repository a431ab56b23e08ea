"""SQLAlchemy models of the tables."""

from db.tables.api_keys import ApiKey, QuotaCounter
from db.tables.base import Base, core_table
from db.tables.batches import Batch, BatchJob
from db.tables.images import Image, Upload
from db.tables.jobs import Attempt, IdempotencyKey, Job, JobEvent, JobExclusion, Tombstone
from db.tables.join_tokens import JoinToken
from db.tables.model_operations import ModelOperation
from db.tables.sessions import PageSession
from db.tables.styles import StyleRow
from db.tables.webhooks import WebhookCursor, WebhookDelivery, WebhookEndpoint
from db.tables.workers import Worker, WorkerModel

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
    "JoinToken",
    "ModelOperation",
    "PageSession",
    "QuotaCounter",
    "StyleRow",
    "Tombstone",
    "Upload",
    "WebhookCursor",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
    "WorkerModel",
    "core_table",
]
