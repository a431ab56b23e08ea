"""Make a backup of a farm, running or not: a snapshot of the database first, then every file that it may name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from core.errors import InvalidInput
from core.settings import Settings
from core.storage_url import FileLocation
from core.version import VERSION
from db.backup import BackupFailed, Contents, copy_database, dump_command, size_in_bytes, sqlite_files
from db.database import Database
from supervisor.backup_contents import (
    DATABASE_NAMES,
    FILES_NAME,
    FORMAT_VERSION,
    MANIFEST_NAME,
    CopiedFiles,
    DatabaseCopy,
    Manifest,
    Report,
    copy_file,
    file_sha256,
    find_files,
    left_out,
    require_space,
)


def create(settings: Settings, target: Path, report: Report) -> Manifest:
    """Write a backup to `target`, which must not exist or be empty; it appears under its name only when complete.

    Raises InvalidInput for a target that cannot be used, NotFound without a farm, BackupFailed, Unavailable.
    """
    target = target.expanduser().resolve()
    _check_target(settings, target)
    database = Database(settings.resolved_database_url, pool_size=1)
    try:
        return _create(settings, database, target, report)
    except OSError as error:
        raise BackupFailed(f"The backup stopped at {error.filename or target}: {error.strerror or error}.") from error
    finally:
        database.dispose()


def missing_dump(settings: Settings, manifest: Manifest, target: Path) -> str | None:
    """Return what to do about a backup that lacks the database because pg_dump is missing, or None."""
    if manifest.database.bytes is not None:
        return None
    database = Database(settings.resolved_database_url, pool_size=1)
    command = dump_command(database, target.expanduser().resolve() / manifest.database.file)
    database.dispose()
    return (
        "This backup lacks the database, because pg_dump is not in PATH: install PostgreSQL's client tools and back up "
        f"again, or run `{command}` now, before the farm renders images that this backup does not hold."
    )


def _check_target(settings: Settings, target: Path) -> None:
    if target.is_relative_to(settings.data_dir):
        raise InvalidInput(f"{target} is inside the data directory {settings.data_dir}: choose a directory outside it.")
    if target.is_mount():
        raise InvalidInput(f"{target} is where a disk is mounted: name a new directory on it, such as {target / 'farm'}.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput(f"{target} is not empty: name a new directory, or remove that one.")


def _create(settings: Settings, database: Database, target: Path, report: Report) -> Manifest:
    database_bytes = size_in_bytes(database)
    skipped = left_out(settings, sqlite_files(database) if database.is_sqlite else ())
    total = sum(size for _, size in _data_files(settings.data_dir, skipped))
    target.parent.mkdir(parents=True, exist_ok=True)
    require_space(target.parent, database_bytes + total)
    partial = _make_partial(target)
    try:
        report("database", 0, 0)
        copy = partial / DATABASE_NAMES[database.url.get_backend_name()]
        contents = copy_database(database, copy, lambda done, of: report("database", done, of))
        files = _copy_files(settings.data_dir, partial / FILES_NAME, skipped, total, report)
        manifest = Manifest(
            version=FORMAT_VERSION,
            imagefarm=VERSION,
            created_at=datetime.now(UTC),
            database=_describe(database, copy, contents),
            files=files,
            missing=sorted(_missing(settings, contents, partial / FILES_NAME)),
        )
        note = partial / MANIFEST_NAME
        note.touch(mode=0o600)
        note.write_text(manifest.model_dump_json(indent=2) + "\n")
        report("writing to disk", 0, 0)
        os.sync()
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    os.sync()
    return manifest


def _make_partial(target: Path) -> Path:
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.mkdir(mode=0o700)
    except FileExistsError:
        raise BackupFailed(f"{partial} exists: another backup is at work there, or was killed. Remove it then.") from None
    return partial


def _data_files(data_dir: Path, skipped: Collection[Path]) -> Iterator[tuple[Path, int]]:
    return find_files(data_dir, skipped) if data_dir.is_dir() else iter(())


def _copy_files(data_dir: Path, target: Path, skipped: Collection[Path], total: int, report: Report) -> CopiedFiles:
    """Copy after the snapshot: a file is safe in the store before its row is written, so none that it names is missed."""
    target.mkdir(mode=0o700)
    done = CopiedFiles(count=0, bytes=0)
    # Images come last: the rest, such as uploads of waiting jobs, is small and sooner deleted.
    for path, _ in sorted(_data_files(data_dir, skipped), key=lambda file: file[0].parts[0] == "images"):
        with suppress(FileNotFoundError):  # deleted meanwhile; `_missing` tells whether the snapshot names it
            done.bytes += copy_file(data_dir / path, target / path)
            done.count += 1
        report("files", done.bytes, max(total, done.bytes))
    return done


def _describe(database: Database, copy: Path, contents: Contents) -> DatabaseCopy:
    made = copy.exists()
    if made:
        copy.chmod(0o600)
    return DatabaseCopy(
        engine=database.url.get_backend_name(),
        file=copy.name,
        bytes=copy.stat().st_size if made else None,
        sha256=file_sha256(copy) if made else None,
        revision=contents.revision,
        rows=contents.rows,
    )


def is_stored_elsewhere(settings: Settings) -> bool:
    """Return whether images and uploads are outside the data directory, and so in no backup of it."""
    return settings.storage_location != FileLocation(settings.data_dir)


def _missing(settings: Settings, contents: Contents, copied: Path) -> Iterator[str]:
    if is_stored_elsewhere(settings):
        return
    for folder, keys in ((settings.images_dir, contents.image_keys), (settings.uploads_dir, contents.upload_keys)):
        for key in keys:
            path = folder.relative_to(settings.data_dir) / key
            if not (copied / path).exists():
                yield path.as_posix()
