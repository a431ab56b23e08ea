"""The typed Python client of a farm: `from imagefarm import ImageFarm`."""

from core.errors import (
    Conflict,
    FarmError,
    Forbidden,
    Gone,
    InvalidInput,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from core.lifecycle import JobStatus
from core.parameters import InvalidParameters
from core.schemas.jobs import Job, JobRequest
from imagefarm.client import ImageFarm
from imagefarm.errors import WaitTimeout
from imagefarm.events import Ended, ImageStored, JobEvent, Preview, Progressed, StatusChanged
from imagefarm.image_folder import ImageFolder

__all__ = [
    "Conflict",
    "Ended",
    "FarmError",
    "Forbidden",
    "Gone",
    "ImageFarm",
    "ImageFolder",
    "ImageStored",
    "InvalidInput",
    "InvalidParameters",
    "Job",
    "JobEvent",
    "JobRequest",
    "JobStatus",
    "NotFound",
    "Preview",
    "Progressed",
    "StatusChanged",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "WaitTimeout",
]
