"""What a store of image files offers, wherever it keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from core.storage.local import StoredFile


class ImageStore(Protocol):
    """Files under keys (`core.storage.image_key`); any number of threads and processes may share it.

    Writes raise RenderError `storage_unavailable`, reads NotFound `image_file_missing` or Unavailable `storage_unavailable`.
    """

    def __hash__(self) -> int:
        """Return the hash of this object, by which caches tell stores apart."""

    def put(self, key: str, data: bytes) -> StoredFile:
        """Store `data`, replacing an existing file; after the return it is safe."""

    def put_blocks(self, key: str, blocks: Iterable[bytes]) -> StoredFile:
        """Store the blocks, in order, as one file."""

    def put_reduced(self, key: str, data: bytes) -> None:
        """Store a reduced copy of a file; it is deleted with the file."""

    def read_reduced(self, key: str) -> bytes:
        """Return the reduced copy of an image that is too large to be decoded, else the file itself."""

    def check_writable(self) -> None:
        """Write and delete a file of about an image's size."""

    def is_there(self) -> bool:
        """Return whether the store itself exists, so that a missing file is one that was deleted."""

    def read(self, key: str) -> bytes:
        """Return the content."""

    def open(self, key: str) -> BinaryIO | RemoteFile:
        """Open the file for reading. A BinaryIO has a file descriptor; a RemoteFile is read over the network."""

    def local_path(self, key: str) -> Path | None:
        """Return the path of a file on this machine; None for stores that are not folders."""

    def find_reduced(self, key: str) -> bytes | None:
        """Return the reduced copy; None when the file has none."""

    def stat(self, key: str) -> StoredFile | None:
        """Return size and SHA-256 of a file, computed or kept with it; None when it does not exist."""

    def delete(self, key: str) -> bool:
        """Delete the file; return False when it did not exist."""

    def iter_keys(self, older_than_seconds: float = 0.0) -> Iterator[str]:
        """Yield keys of files last written more than that many seconds ago, in no order."""

    def sweep_partial(self, older_than_seconds: float = 3600.0) -> int:
        """Delete what killed writers left, and return how much."""


@runtime_checkable
class RemoteFile(Protocol):
    """A file in a store that is reached over the network."""

    size: int
    """In bytes."""
    modified_at: float
    """Seconds since 1970."""

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `end`. Raises Unavailable `storage_unavailable`."""

    def link(self, *, media_type: str, file_name: str | None) -> str | None:
        """Return a URL from which a client may fetch the file for some minutes; None when the store gives none."""

    def close(self) -> None:
        """Free the connection."""
