"""The typed client of a farm: submit, wait, follow, fetch. `from imagefarm import ImageFarm`."""

from imagefarm.client import ImageFarm
from imagefarm.errors import WaitTimeout
from imagefarm.events import Ended, ImageStored, JobEvent, Preview, Progressed, StatusChanged

__all__ = [
    "Ended",
    "ImageFarm",
    "ImageStored",
    "JobEvent",
    "Preview",
    "Progressed",
    "StatusChanged",
    "WaitTimeout",
]
