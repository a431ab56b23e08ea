"""The demo model: a tiny Z-Image with random weights, built on this machine before its first use."""

from __future__ import annotations

from pathlib import Path

from core.catalogue import CatalogueModel, ModelPaths
from core.catalogue.model_folder import missing_files, read_marker
from worker.models.folders import Contents, atomic_folder

SEED = 0
BUILD_VERSION = "1"
"""Increase it when the tiny model's architecture changes: older copies are then rebuilt."""


def ensure_built(model: CatalogueModel, model_paths: ModelPaths) -> Path:
    """Return the folder of a locally built model; build it unless a complete one of this build exists."""
    directory = model_paths.weights(model.id)
    marker = read_marker(directory)
    if marker is None or marker.revision != BUILD_VERSION or missing_files(directory):
        from worker.models.libraries import silence_libraries

        silence_libraries()
        from worker.models.tiny_models import build_tiny_model

        with atomic_folder(directory, Contents(model.id, "built", f"seed {SEED}", "float32", BUILD_VERSION)) as draft:
            build_tiny_model(model.id, draft, SEED)
    return directory
