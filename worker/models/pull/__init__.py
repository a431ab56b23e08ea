"""Bring a model's weights here: list, check the disk, download, convert once. Imports no torch until it converts."""

from worker.models.pull.progress import PullProgress, Stage
from worker.models.pull.pull import Pulled, PullOptions, pull

__all__ = ["PullOptions", "PullProgress", "Pulled", "Stage", "pull"]
