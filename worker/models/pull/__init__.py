"""Fetch a model's weights: list, check the disk, download, convert once. Imports torch only for the conversion."""

from worker.models.pull.progress import PullProgress, Stage
from worker.models.pull.pull import Pulled, PullOptions, pull

__all__ = ["PullOptions", "PullProgress", "Pulled", "Stage", "pull"]
