"""The largest image of each of this worker's models, as its engine reported it at the last load."""

from __future__ import annotations

from db.size_limits import UNKNOWN, SizeLimit
from worker.engine.messages import EngineInfo


class SizeLimits:
    """Thread-safe. Nothing is known of a model before its first load."""

    def __init__(self) -> None:
        self._limits: dict[str, SizeLimit] = {}

    def note(self, info: EngineInfo) -> None:
        """Record what the engine reports of the model that it has loaded."""
        self._limits[info.model] = SizeLimit(info.max_pixels, info.max_pixels_guided)

    def of(self, model: str) -> SizeLimit:
        """Return the limit of a model."""
        return self._limits.get(model, UNKNOWN)
