"""The typed client of a farm: submit, wait, follow, fetch. `from client import ImageFarm`."""

from client.errors import WaitTimeout
from client.events import Ended, JobEvent, Preview, Progressed, StatusChanged, Stored
from client.farm import ImageFarm

__all__ = [
    "Ended",
    "ImageFarm",
    "JobEvent",
    "Preview",
    "Progressed",
    "StatusChanged",
    "Stored",
    "WaitTimeout",
]
