"""The demo model: a tiny Z-Image with random weights, built on this machine before its first use."""

from __future__ import annotations

from pathlib import Path

from core.catalogue import CatalogueModel, Places
from core.catalogue.completeness import what_is_missing
from core.catalogue.marker import read_marker
from worker.models.folders import Contents, whole_folder

SEED = 0
BUILD = "1"
"""Raise it when the twin's architecture changes: older copies are then built anew."""


def ensure_built(model: CatalogueModel, places: Places) -> Path:
    """The folder of a model that is built locally, made now unless a whole one of this build is there."""
    directory = places.weights(model.id)
    marker = read_marker(directory)
    if marker is None or marker.revision != BUILD or what_is_missing(directory):
        from worker.models.quiet import silence_libraries

        silence_libraries()
        from worker.models.twins import build_twin

        with whole_folder(directory, Contents(model.id, "built", f"seed {SEED}", "float32", BUILD)) as draft:
            build_twin(model.id, draft, SEED)
    return directory
