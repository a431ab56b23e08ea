"""What the store says about a file that it took."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class StoredFile:
    """A file in the store; `bytes` is its size, `sha256` the hex digest of its content."""

    key: str
    bytes: int
    sha256: str


def describe(key: str, data: bytes) -> StoredFile:
    """The description of `data` under `key`."""
    return StoredFile(key=key, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
