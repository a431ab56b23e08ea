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

from core.errors import InvalidInput
from core.storage.local import EXTENSIONS, MalformedKey, describe_os_error

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


def export_file(directory: Path, data: bytes, moment: datetime, *, extension: str = "png", by_day: bool = False) -> Path:
    """Write `data` under the first free name for `moment` (shown in this machine's time zone) and return the path.

    Never overwrites: a name is reserved by creating the file, so that concurrent exports of several processes do not
    collide. Raises InvalidInput `export_failed` when the directory does not accept the file.
    """
    if extension not in EXTENSIONS:
        raise MalformedKey(f"not an image extension: {extension!r}")
    local = moment.astimezone()
    folder = directory / local.date().isoformat() if by_day else directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _write_new(folder, f"outputs_{local:%Y%m%d%H%M%S}", extension, data)
    except OSError as error:
        raise InvalidInput(
            f"Could not save an image to '{directory}': {describe_os_error(error)}.", field="directory", code="export_failed"
        ) from error


def _write_new(folder: Path, stem: str, extension: str, data: bytes) -> Path:
    """Write such that the name never refers to a partial file, even if this process is killed."""
    partial = folder / f".partial-{secrets.token_hex(8)}"
    try:
        partial.write_bytes(data)
        return _take_name(folder, stem, extension, lambda path: os.link(partial, path))
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _take_name(folder, stem, extension, lambda path: _write(path, data))
    finally:
        partial.unlink(missing_ok=True)


def _take_name(folder: Path, stem: str, extension: str, take: Callable[[Path], None]) -> Path:
    """Try `stem`, `stem_01`, `stem_02` ... until `take` does not raise FileExistsError, and return that path."""
    for number in itertools.count():
        path = folder / (f"{stem}_{number:02d}.{extension}" if number else f"{stem}.{extension}")
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
