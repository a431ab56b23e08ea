"""What a backup consists of: its manifest, its files, and which files of a data directory belong in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from core.errors import InvalidInput
from core.settings import Settings
from db.backup import BackupFailed
from supervisor.data_dir import LOCK_NAME

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
FILES_NAME = "data"
DATABASE_NAMES = {"sqlite": "database.sqlite", "postgresql": "database.dump"}
STAGING_NAME = ".restore-partial"
MADE_AGAIN = ("redis", "logs", "models", "spool", "workers", LOCK_NAME)
"""Entries of a data directory that no backup holds: a farm makes them again, or they can be downloaded again."""
_SPARE_BYTES = 64 * 2**20

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is; 0 for not known."""


class DatabaseCopy(BaseModel):
    """The database in a backup; `bytes` and `sha256` are None when pg_dump was missing and no copy was made."""

    engine: str
    file: str
    bytes: int | None
    sha256: str | None
    revision: str
    rows: dict[str, int]


class CopiedFiles(BaseModel):
    """How many files a backup holds besides the database, and their total size."""

    count: int
    bytes: int


class Manifest(BaseModel):
    """`manifest.json`, written last; `missing` lists files that the database names and that were missing at the copy."""

    version: int
    imagefarm: str
    created_at: datetime
    database: DatabaseCopy
    files: CopiedFiles
    missing: list[str]


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of the backup in `directory`. Raises InvalidInput if it is missing or of another format."""
    file = directory / MANIFEST_NAME
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{directory} is not a backup: {file} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        raise InvalidInput(f"{file} is damaged, or not the manifest of a backup.") from error
    if manifest.version > FORMAT_VERSION:
        raise InvalidInput(
            f"{directory} was made by a newer imagefarm ({manifest.imagefarm}): restore it with that version."
        )
    return manifest


def left_out(settings: Settings, database_files: Collection[Path]) -> set[Path]:
    """Paths in the data directory that no backup holds as files."""
    models = {settings.resolved_models_dir, *settings.model_folders.values()}
    database = {path.absolute() for path in database_files} | {path.resolve() for path in database_files}
    return {settings.data_dir / name for name in MADE_AGAIN} | models | database


def find_files(root: Path, skipped: Collection[Path] = ()) -> Iterator[tuple[Path, int]]:
    """Path relative to `root` and size of every regular file below it, in no order; half-written files are passed over.

    A directory directly below `root` may be a symbolic link, such as `images` on another disk; deeper ones are ignored.
    """
    for entry in root.iterdir():
        if entry in skipped or entry.name == STAGING_NAME:
            continue
        if not entry.is_dir():
            yield from _regular(root, entry)
            continue
        for folder, folders, names in os.walk(entry):
            folders[:] = [name for name in folders if name != STAGING_NAME and Path(folder, name) not in skipped]
            for name in names:
                if Path(folder, name) not in skipped:
                    yield from _regular(root, Path(folder, name))


def _regular(root: Path, path: Path) -> Iterator[tuple[Path, int]]:
    """Skip sockets, pipes, unfinished files and files that no longer exist."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(facts.st_mode) and not path.name.startswith(".partial-"):
        yield path.relative_to(root), facts.st_size


def copy_file(source: Path, target: Path) -> int:
    """Copy one file, readable for its owner alone, with the time of its last change; returns its size in bytes."""
    facts = source.stat()
    make_private(target.parent)
    shutil.copyfile(source, target)
    target.chmod(0o600)
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return target.stat().st_size


def make_private(folder: Path) -> None:
    """Make the folder and those above it that are missing; only the owner may enter them."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_space(folder: Path, needed: int) -> None:
    """Raise BackupFailed unless the disk that holds `folder` has room for `needed` bytes and a little more."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise BackupFailed(
            f"Not enough space at {folder}: {_gigabytes(needed + _SPARE_BYTES)} are needed and {_gigabytes(free)} are free."
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
