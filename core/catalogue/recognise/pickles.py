"""List the names in a pickled file of PyTorch without unpickling it."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

_MAX_PICKLE_BYTES = 16 * 2**20
_MAX_NAMES = 100_000
_TEXTS = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "UNICODE"})


def names_in_pickle(path: Path) -> frozenset[str]:
    """Return the texts of the file's pickle, among them the tensors' names; empty when they cannot be listed.

    Only opcodes are read: nothing is constructed or called.
    """
    found: set[str] = set()
    try:
        for opcode, argument, _ in pickletools.genops(_pickle_of(path)):
            if opcode.name in _TEXTS and isinstance(argument, str):
                found.add(argument)
            if len(found) > _MAX_NAMES:
                break
    except (OSError, ValueError, KeyError, IndexError, OverflowError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        pass  # The names before the damage still tell what the file seems to be.
    return frozenset(found)


def _pickle_of(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as opened:
            return opened.read(_MAX_PICKLE_BYTES)
    with zipfile.ZipFile(path) as archive:
        member = next(name for name in (*archive.namelist(), "") if name.endswith("data.pkl") or not name)
        if archive.getinfo(member).file_size > _MAX_PICKLE_BYTES:
            return b""
        with archive.open(member) as opened:
            return opened.read(_MAX_PICKLE_BYTES)
