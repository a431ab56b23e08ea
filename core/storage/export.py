"""Copies of images under names for people: `outputs_YYYYMMDDHHMMSS[_NN].png`, flat or in a folder per day."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from core.errors import InvalidInput
from core.storage.faults import reason
from core.storage.keys import EXTENSIONS, MalformedKey


def export_file(directory: Path, data: bytes, moment: datetime, *, extension: str = "png", by_day: bool = False) -> Path:
    """Write `data` under the first free name for `moment` (shown in this machine's time zone) and return the path.

    Never overwrites: a name is taken by creating it, so exports in several processes at once do not collide.
    Raises InvalidInput `export_failed` when the directory does not take the file.
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
            f"Could not save an image to '{directory}': {reason(error)}.", field="directory", code="export_failed"
        ) from error


def _write_new(folder: Path, stem: str, extension: str, data: bytes) -> Path:
    path, file = _take_name(folder, stem, extension)
    with file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path


def _take_name(folder: Path, stem: str, extension: str) -> tuple[Path, BinaryIO]:
    """The first of `stem`, `stem_01`, `stem_02` ... that nobody has, as a new empty file, open for writing."""
    for number in itertools.count():
        path = folder / (f"{stem}_{number:02d}.{extension}" if number else f"{stem}.{extension}")
        with suppress(FileExistsError):
            return path, path.open("xb")
    raise AssertionError("itertools.count() never ends")
