"""SHA-256 of weight files: compute it counting bytes, and keep what was computed at a pull or a first check."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

CHECKSUMS_FILE = "checksums.json"
"""In a folder that a pull made: the checksums of its files as they were written."""
RECORDS = ".checksums"
"""In the models directory: checksums of files elsewhere, as they were at their first check."""
_CHUNK_BYTES = 1 << 23

OnBytes = Callable[[int, str], None]
"""Called with bytes that were read and the name of their file, such as `Meter.add`."""


class Checksum(BaseModel):
    """A file as it was. `modified_ns` is kept for files that a user may replace."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size_bytes: int
    modified_ns: int | None = None


class _File(BaseModel):
    format: Literal[1] = 1
    files: dict[str, Checksum]


def sha256_of(file: Path, on_bytes: OnBytes) -> str:
    """Return the hex digest of a file, counting its bytes."""
    return _digest_of(file, hashlib.sha256(), on_bytes)


def git_blob_of(file: Path, on_bytes: OnBytes) -> str:
    """Return the name that git gives the file's content, as the hub's cache names small files."""
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    return _digest_of(file, digest, on_bytes)


def _digest_of(file: Path, digest: hashlib._Hash, on_bytes: OnBytes) -> str:
    with file.open("rb", buffering=0) as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk), file.name)
    return digest.hexdigest()


def record_folder(folder: Path, files: Iterable[Path], on_bytes: OnBytes) -> None:
    """Write the checksums of a finished folder's files into it."""
    found = {
        file.relative_to(folder).as_posix(): Checksum(sha256=sha256_of(file, on_bytes), size_bytes=file.stat().st_size)
        for file in files
    }
    write(folder / CHECKSUMS_FILE, found)


def read(path: Path) -> dict[str, Checksum]:
    """Return name -> checksum; empty when the file is missing or unreadable."""
    try:
        return _File.model_validate_json(path.read_text(encoding="utf-8")).files
    except (OSError, ValidationError):
        return {}


def write(path: Path, checksums: Mapping[str, Checksum]) -> None:
    """Replace the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(_File(files=dict(checksums)).model_dump_json(indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def record_of(models_dir: Path, model_id: str) -> Path:
    """Return the path of the record of a model whose files are outside the models directory."""
    return models_dir / RECORDS / f"{model_id}.json"
