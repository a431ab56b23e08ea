"""The typed Python client of a farm: `from imagefarm import ImageFarm`."""

from imagefarm.client import ImageFarm
from imagefarm.errors import WaitTimeout
from imagefarm.events import Ended, ImageStored, JobEvent, Preview, Progressed, StatusChanged
from imagefarm.image_folder import ImageFolder

__all__ = [
    "Ended",
    "ImageFarm",
    "ImageFolder",
    "ImageStored",
    "JobEvent",
    "Preview",
    "Progressed",
    "StatusChanged",
    "WaitTimeout",
]
