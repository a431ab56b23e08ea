"""Describe stored files, and translate file system errors to `core.errors`."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core.errors import NotFound, RenderError, Unavailable


@dataclass(frozen=True)
class StoredFile:
    """A file in the store; `bytes` is its size, `sha256` the hex digest of its content."""

    key: str
    bytes: int
    sha256: str


def describe_file(key: str, data: bytes) -> StoredFile:
    """Return the description of `data` under `key`."""
    return StoredFile(key=key, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


_REASONS = {
    errno.ENOSPC: "its disk is full; free some space or set a limit with IMAGEFARM_KEEP_GIGABYTES",
    errno.EDQUOT: "the disk quota is used up; free some space or raise the quota",
    errno.EACCES: "it may not be written to; give the worker's user write permission",
    errno.EPERM: "it may not be written to; give the worker's user write permission",
    errno.EROFS: "its file system is mounted read-only",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EEXIST: "a file stands where a folder should be",
    errno.EIO: "its disk reports an input/output error",
    errno.ESTALE: "its network file system is no longer available",
}


def describe_os_error(error: OSError) -> str:
    """Return the cause in plain words, without paths of this machine."""
    return _REASONS.get(error.errno or 0, error.strerror or type(error).__name__)


@contextmanager
def translate_write_errors() -> Iterator[None]:
    """Raise RenderError `storage_unavailable` for any OSError inside, which makes the job retry later."""
    try:
        yield
    except OSError as error:
        raise RenderError(
            f"The image directory did not accept the file: {describe_os_error(error)}.", code="storage_unavailable"
        ) from error


@contextmanager
def translate_read_errors(key: str) -> Iterator[None]:
    """Raise NotFound `image_file_missing` for a missing file, Unavailable `storage_unavailable` for any other OSError."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(
            f"The file of this image is missing from the store: {key}. It was not deleted by imagefarm.",
            code="image_file_missing",
        ) from error
    except OSError as error:
        raise Unavailable(
            f"The image directory cannot be read: {describe_os_error(error)}.", code="storage_unavailable"
        ) from error
