"""The marker that makes a folder of weights valid: written last, so that a half-made folder is never used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "imagefarm.json"
FORMAT: Literal[1] = 1


class Marker(BaseModel):
    """What a folder holds and where it came from. `dtype` may name a quantised form; `size_bytes` counts all files."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    model: str
    origin: Literal["built", "hub", "folder"]
    source: str
    revision: str | None = None
    dtype: str
    size_bytes: int
    made_at: float


def read_marker(directory: Path) -> Marker | None:
    """The folder's marker; None when there is none, or none that this version understands."""
    try:
        return Marker.model_validate_json((directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def write_marker(directory: Path, marker: Marker) -> None:
    """Write it as the folder's last file."""
    (directory / FILE).write_text(json.dumps(marker.model_dump(), indent=1) + "\n", encoding="utf-8")


def size_of(directory: Path) -> int:
    """Bytes of all files below, links followed."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
