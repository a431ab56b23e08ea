"""Export images under readable names, `outputs_YYYYMMDDHHMMSS[_NN].png`, flat or in a folder for each day."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from shutil import copyfile

from core.errors import InvalidInput
from core.storage.local import EXTENSIONS, MalformedKey, describe_os_error

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
_NO_SHARED_FILE = _NO_LINKS | {errno.EXDEV}
"""Why a file cannot get a second name: no links there, another file system, a system that protects files of other users."""


def export_file(directory: Path, data: bytes, moment: datetime, *, extension: str = "png", by_day: bool = False) -> Path:
    """Write `data` under the first free name for `moment` (shown in this machine's time zone) and return the path.

    Never overwrites: a name is reserved by creating the file, so that concurrent exports of several processes do not
    collide. Raises InvalidInput `export_failed` when the directory does not accept the file.
    """
    folder, stem = _place(directory, moment, extension, by_day=by_day)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _write_new(folder, stem, extension, lambda path: _write(path, data))
    except OSError as error:
        raise InvalidInput(
            f"Could not save an image to '{directory}': {describe_os_error(error)}.", field="directory", code="export_failed"
        ) from error


def link_file(directory: Path, source: Path, moment: datetime, *, extension: str = "png", by_day: bool = False) -> Path:
    """Give a stored file a second name like `export_file`; copy it where the file systems share no files. Raises OSError.

    A hard link takes no space, and stays when the first name is deleted.
    """
    folder, stem = _place(directory, moment, extension, by_day=by_day)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _take_name(folder, stem, extension, lambda path: os.link(source, path))
    except OSError as error:
        if error.errno not in _NO_SHARED_FILE:
            raise
        return _write_new(folder, stem, extension, lambda path: _copy(source, path))


def name_stem(moment: datetime) -> str:
    """Return `outputs_YYYYMMDDHHMMSS` for a moment in this machine's time zone."""
    return f"outputs_{moment.astimezone():%Y%m%d%H%M%S}"


def day_of(moment: datetime) -> str:
    """Return `YYYY-MM-DD`, the name of the folder of a day, in this machine's time zone."""
    return moment.astimezone().date().isoformat()


def numbered(stem: str, number: int, extension: str) -> str:
    """Return the file name of image `number` (from 0) of one second."""
    return f"{stem}_{number:02d}.{extension}" if number else f"{stem}.{extension}"


def _place(directory: Path, moment: datetime, extension: str, *, by_day: bool) -> tuple[Path, str]:
    if extension not in EXTENSIONS:
        raise MalformedKey(f"not an image extension: {extension!r}")
    return directory / day_of(moment) if by_day else directory, name_stem(moment)


def _write_new(folder: Path, stem: str, extension: str, write: Callable[[Path], None]) -> Path:
    """Write such that the name never refers to a partial file, even if this process is killed."""
    partial = folder / f".partial-{secrets.token_hex(8)}"
    try:
        write(partial)
        return _take_name(folder, stem, extension, lambda path: os.link(partial, path))
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _take_name(folder, stem, extension, write)
    finally:
        partial.unlink(missing_ok=True)


def _take_name(folder: Path, stem: str, extension: str, take: Callable[[Path], None]) -> Path:
    """Try `stem`, `stem_01`, `stem_02` ... until `take` does not raise FileExistsError, and return that path."""
    for number in itertools.count():
        path = folder / numbered(stem, number, extension)
        with suppress(FileExistsError):
            take(path)
            return path
    raise AssertionError("itertools.count() never ends")


def _write(path: Path, data: bytes) -> None:
    """Write on file systems without links, such as FAT, where a kill leaves a partial file."""
    with path.open("xb") as file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _copy(source: Path, path: Path) -> None:
    """Copy into a file that must not exist yet, since another process may have taken its name."""
    path.open("xb").close()
    try:
        copyfile(source, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
