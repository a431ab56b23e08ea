"""SQLAlchemy models of the tables."""

from db.tables.access import ApiKey, JoinToken, PageSession, QuotaCounter
from db.tables.base import Base
from db.tables.batches import Batch, BatchJob
from db.tables.collections import Collection, CollectionImage
from db.tables.comfyui import ComfyInput, ComfyPrompt, ComfyPromptJob
from db.tables.images import Image, Upload
from db.tables.jobs import Attempt, IdempotencyKey, Job, JobEvent, JobExclusion, Tombstone
from db.tables.model_operations import ModelOperation
from db.tables.styles import StyleRow
from db.tables.usage import UsageDay
from db.tables.webhooks import WebhookCursor, WebhookDelivery, WebhookEndpoint
from db.tables.workers import Worker, WorkerModel

__all__ = [
    "ApiKey",
    "Attempt",
    "Base",
    "Batch",
    "BatchJob",
    "Collection",
    "CollectionImage",
    "ComfyInput",
    "ComfyPrompt",
    "ComfyPromptJob",
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
    "UsageDay",
    "WebhookCursor",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
    "WorkerModel",
]
