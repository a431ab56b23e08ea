"""Work of a job, in megapixels times steps, and when a worker leaves a job to faster ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FASTER = 1.5
"""A worker counts as faster from this ratio on: smaller differences come and go with the jobs."""
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 15.0
_WAIT_SHARE = 0.25
LEAST_PIXELS = 256 * 256
"""Smaller images hardly take less: what an image costs apart from its pixels would make the worker look slow."""


def longest_wait(image_seconds: float) -> float:
    """Return the seconds for which a worker that takes so long for an image may leave a waiting job to faster ones."""
    return min(max(image_seconds * _WAIT_SHARE, SHORTEST_SECONDS), LONGEST_SECONDS)


def megapixel_steps(width: int, height: int, steps: int) -> float:
    """Return the work of one image; 0 for one without a size."""
    pixels = width * height
    return (max(pixels, LEAST_PIXELS) if pixels else 0) * max(steps, 1) / 1e6


def work_of(given: Mapping[str, Any]) -> float:
    """Return the work of all images of a job, from its normalised parameters; 0 where they name no size."""
    width, height = int(given.get("width") or 0), int(given.get("height") or 0)
    return megapixel_steps(width, height, int(given.get("num_inference_steps") or 1)) * int(given.get("num_images") or 1)
