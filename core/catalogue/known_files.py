"""Remember what weight files are, by path, size and time of change, so that each header is read once in a process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from core.catalogue.recognise import recognise
from core.catalogue.weight_file import WeightFile
from core.errors import InvalidInput


def known_file(path: Path) -> WeightFile:
    """Return what `recognise` does, from memory while the file does not change."""
    try:
        state = path.stat()
    except OSError:
        raise InvalidInput(f"There is no file at {path}.", field="path", code="weights_not_found") from None
    return _recognised(path, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=4096)
def _recognised(path: Path, size: int, changed_at: int, inode: int) -> WeightFile:
    return recognise(path)
