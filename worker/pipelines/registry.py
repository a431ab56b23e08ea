"""Which code renders which family of the catalogue."""

from __future__ import annotations

from worker.pipelines.family import AnyFamily
from worker.pipelines.loaded import Loaded


def make_family(loaded: Loaded) -> AnyFamily:
    """The family of the model's catalogue row, over its loaded pipeline."""
    match loaded.model.family:
        case "z-image":
            from worker.pipelines.z_image.family import ZImageFamily

            return ZImageFamily(loaded)
        case other:
            raise NotImplementedError(other)
