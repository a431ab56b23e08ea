"""Is there room on the disk for a download and the converted copy?"""

from __future__ import annotations

import shutil
from pathlib import Path

from core.catalogue import CatalogueModel
from core.errors import Conflict

GIGABYTE = 10**9
SPARE = GIGABYTE // 2
"""Left free beside what a pull writes."""
ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def converted_bytes(model: CatalogueModel, weight_bytes: int, dtype: str) -> int:
    """Size of the converted copy: by the row's parameters where it tells them, never more than twice the original."""
    known = sum(model.weights.parameters.values()) * ELEMENT_BYTES[dtype]
    return min(known, 2 * weight_bytes) if known else weight_bytes


def free_bytes(folder: Path) -> int:
    """Left on the disk under `folder`, which need not exist."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def check_space(folder: Path, needed: int, what_for: str) -> None:
    """Conflict `not_enough_disk` when the disk under `folder` has too little left; the folder need not exist."""
    free = free_bytes(folder)
    if free < needed + SPARE:
        raise Conflict(
            f"{what_for} needs {needed / GIGABYTE:.1f} GB under {folder}, but only {free / GIGABYTE:.1f} GB are free. "
            "Free some, or set IMAGEFARM_MODELS_DIR to a larger disk.",
            code="not_enough_disk",
        )
