"""Delete what pulls and loads have written for a model below the models directory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from core.catalogue import CatalogueModel, ModelPaths
from core.catalogue.model_folder import MARKER_FILE, read_marker, size_of
from worker.models import checksums
from worker.models.folders import remove_drafts
from worker.models.pull.pull import DOWNLOADS, exclusive_pull


@dataclass(frozen=True)
class Removed:
    """Names of the deleted folders, and the bytes that this freed."""

    folders: list[str]
    freed_bytes: int


def remove_weights(model: CatalogueModel, model_paths: ModelPaths) -> Removed:
    """Delete the model's pulled or built weights, their packed copies, and an unfinished download.

    Folders without the farm's marker, such as your LoRAs, named folders and the hub's cache stay. Raises Conflict
    `pull_running`.
    """
    own = model_paths.models_dir / model.id
    with exclusive_pull(model_paths, model.id):
        remove_drafts(own)
        folders = [path for path in sorted(own.glob("*")) if path.is_dir() and read_marker(path) is not None]
        download = model_paths.models_dir / DOWNLOADS / model.id
        found = [*folders, *([download] if download.is_dir() else [])]
        freed = sum(size_of(folder) for folder in found)
        for folder in found:
            _delete(folder)
        checksums.record_of(model_paths.models_dir, model.id).unlink(missing_ok=True)
        if own.is_dir() and not any(own.iterdir()):
            own.rmdir()
    return Removed([folder.name if folder != download else DOWNLOADS for folder in found], freed)


def _delete(folder: Path) -> None:
    """Delete the marker first: a folder that is only partly deleted does not count as weights."""
    (folder / MARKER_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder)
