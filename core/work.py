"""The unit in which the farm compares speeds of workers and sizes of jobs: megapixels times steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def megapixel_steps(width: int, height: int, steps: int) -> float:
    """Return the work of one image."""
    return width * height * max(steps, 1) / 1e6


def work_of(given: Mapping[str, Any]) -> float:
    """Return the work of all images of a job, from its normalised parameters; 0 where they name no size."""
    width, height = int(given.get("width") or 0), int(given.get("height") or 0)
    return megapixel_steps(width, height, int(given.get("num_inference_steps") or 1)) * int(given.get("num_images") or 1)
