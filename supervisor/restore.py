"""Restore a backup into an empty data directory and database: copy to a staging directory, then rename into place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import InvalidInput
from core.settings import Settings
from db.backup import (
    BackupFailed,
    finish_sqlite,
    is_empty,
    load_postgres,
    release_running,
    sqlite_files,
)
from db.database import Database
from db.schema_revision import is_known_revision
from supervisor import data_dir
from supervisor.backup_contents import (
    FILES_NAME,
    STAGING_NAME,
    Manifest,
    Report,
    copy_file,
    file_sha256,
    find_files,
    make_private,
    read_manifest,
    require_space,
)

Move = tuple[Path, Path]
"""A copied file or folder, and where it belongs; both are on one disk."""


def restore(settings: Settings, source: Path, report: Report) -> Manifest:
    """Put the backup in `source` in place; on any error everything is as it was before.

    Raises InvalidInput for what is not a whole backup of a known version, AlreadyRunning while a farm runs there,
    BackupFailed when something is in the way.
    """
    source = source.expanduser().resolve()
    manifest = read_manifest(source)
    make_private(settings.data_dir)
    database = Database(settings.resolved_database_url, pool_size=1)
    try:
        _check_backup(source, manifest, database, report)
        data_dir.prepare(settings.data_dir)
        with data_dir.lock(settings.data_dir):
            _refuse_occupied(settings, source, database)
            _put_in_place(settings, source, manifest, database, report)
    except OSError as error:
        raise BackupFailed(f"The restore stopped at {error.filename}: {error.strerror or error}.") from error
    finally:
        database.dispose()
    return manifest


def _check_backup(source: Path, manifest: Manifest, database: Database, report: Report) -> None:
    found = manifest.database
    if not is_known_revision(found.revision):
        raise InvalidInput(
            f"{source} holds a database of a newer imagefarm (schema {found.revision}, made by {manifest.imagefarm}): "
            "restore it with that version."
        )
    if found.engine != database.url.get_backend_name():
        raise InvalidInput(
            f"{source} holds a database of {found.engine}, and IMAGEFARM_DATABASE_URL names one of "
            f"{database.url.get_backend_name()}: restore into the same kind."
        )
    if not database.is_sqlite and shutil.which("pg_restore") is None:
        raise BackupFailed("pg_restore is not in PATH: install PostgreSQL's client tools, then restore again.")
    copy = source / found.file
    if not copy.is_file():
        raise InvalidInput(f"{source} lacks the database: {copy.name} is missing.")
    report("checking", 0, 0)
    if found.sha256 is not None and file_sha256(copy) != found.sha256:
        raise InvalidInput(f"{copy} is damaged: its checksum is not the manifest's.")
    sizes = [size for _, size in find_files(source / FILES_NAME)] if (source / FILES_NAME).is_dir() else []
    if (len(sizes), sum(sizes)) != (manifest.files.count, manifest.files.bytes):
        raise InvalidInput(
            f"{source} is incomplete: {len(sizes)} files of {sum(sizes)} bytes are there, and the manifest counts "
            f"{manifest.files.count} files of {manifest.files.bytes} bytes."
        )


def _refuse_occupied(settings: Settings, source: Path, database: Database) -> None:
    """Raise BackupFailed, naming what is in the way: nothing that exists is replaced or mixed with the backup."""
    if not is_empty(database):
        where = sqlite_files(database)[0] if database.is_sqlite else f"the database {database.url.database}"
        raise BackupFailed(f"{where} already holds a farm: restore into another, empty place, or move it away first.")
    occupied = [name for name in _entries(source) if _in_the_way(settings.data_dir / name)]
    if occupied:
        raise BackupFailed(f"{settings.data_dir} already holds {', '.join(occupied)}: move that away first.")


def _entries(source: Path) -> list[str]:
    return sorted(entry.name for entry in (source / FILES_NAME).iterdir())


def _in_the_way(path: Path) -> bool:
    """Return whether a folder holds files of a farm; `lost+found` and remains of a killed restore do not count."""
    if path.is_dir():
        return any(entry.name not in (STAGING_NAME, "lost+found") for entry in path.iterdir())
    return path.exists()


def _put_in_place(settings: Settings, source: Path, manifest: Manifest, database: Database, report: Report) -> None:
    sqlite = sqlite_files(database)[0] if database.is_sqlite else None
    copy = source / manifest.database.file
    require_space(settings.data_dir, manifest.files.bytes + (copy.stat().st_size if sqlite else 0))
    folders = [settings.data_dir / name for name in _entries(source) if (source / FILES_NAME / name).is_dir()]
    with _staging([settings.data_dir, *folders, *([sqlite.parent] if sqlite else [])]):
        moves = _copy_files(settings.data_dir, source / FILES_NAME, manifest, report)
        if sqlite is not None:
            moves.append(_copy_sqlite(copy, sqlite, database, report))
            _move(moves, lambda: None)
        else:
            report("database", 0, 0)
            _move(moves, lambda: load_postgres(database, copy))
            release_running(settings.resolved_database_url)


@contextmanager
def _staging(folders: list[Path]) -> Iterator[None]:
    """Yield a private folder in each directory, so that renames work where `images` is a mount; remove them at the end."""
    stages = list(dict.fromkeys(folder / STAGING_NAME for folder in folders))
    try:
        for stage in stages:
            shutil.rmtree(stage, ignore_errors=True)  # a killed restore left it
            make_private(stage)
        yield
    finally:
        for stage in stages:
            shutil.rmtree(stage, ignore_errors=True)


def _copy_files(target: Path, source: Path, manifest: Manifest, report: Report) -> list[Move]:
    done, moves = 0, {}
    for path, _ in find_files(source):
        first, *rest = path.parts
        folder = target / first if rest else target
        inside = Path(*rest) if rest else path
        done += copy_file(source / path, folder / STAGING_NAME / inside)
        moves[folder / STAGING_NAME / inside.parts[0]] = folder / inside.parts[0]
        report("files", done, manifest.files.bytes)
    return list(moves.items())


def _copy_sqlite(copy: Path, target: Path, database: Database, report: Report) -> Move:
    report("database", 0, 0)
    staged = target.parent / STAGING_NAME / target.name
    copy_file(copy, staged)
    release_running(database.url.set(database=str(staged)).render_as_string(hide_password=False))
    finish_sqlite(staged)
    return staged, target


def _move(moves: list[Move], load: Callable[[], None]) -> None:
    """Rename everything into place, then load the database; when one fails, what was moved goes back."""
    os.sync()
    moved: list[Move] = []
    try:
        for staged, final in moves:
            staged.rename(final)
            moved.append((staged, final))
        load()
    except BaseException:
        for staged, final in reversed(moved):
            final.rename(staged)
        raise
    os.sync()
