"""Store image files in a directory: keys, atomic writes, reads and deletion."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from core.errors import NotFound, RenderError, Unavailable
from core.storage.sync import joint_sync

EXTENSIONS = ("png", "jpg", "webp")

_JOB = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_JOB_PATTERN = re.compile(_JOB)
_KEY_PATTERN = re.compile(
    rf"\d{{4}}-\d{{2}}-\d{{2}}/[0-9a-f]{{2}}/{_JOB}\.\d{{1,6}}\.\d{{1,6}}\.(?:{'|'.join(EXTENSIONS)})", re.ASCII
)


class MalformedKey(ValueError):
    """A malformed key, or part of one: a programming error, never a user's."""


def image_key(job_id: str, attempt: int, index: int, extension: str = "png") -> str:
    """Return the key of image `index` (from 0) of a job's attempt (from 1). Raises MalformedKey."""
    if _JOB_PATTERN.fullmatch(job_id) is None:
        raise MalformedKey(f"not a job id: {job_id!r}")
    return check_key(f"{_day(job_id)}/{job_id[-2:]}/{job_id}.{attempt:d}.{index:d}.{extension}")


def job_and_attempt(key: str) -> tuple[str, int]:
    """Return the job id and the attempt that wrote the file of this key. Raises MalformedKey."""
    job_id, attempt, *_ = check_key(key).rsplit("/", 1)[1].split(".")
    return job_id, int(attempt)


def check_key(key: str) -> str:
    """Return the key unchanged. Raises MalformedKey unless it has exactly the form of a key."""
    if _KEY_PATTERN.fullmatch(key) is None:
        raise MalformedKey(f"not a storage key: {key!r}")
    return key


def _day(job_id: str) -> str:
    """Return the UTC day of a UUIDv7, whose first 48 bits are milliseconds since 1970."""
    milliseconds = UUID(job_id).int >> 80
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()
    except (ValueError, OverflowError) as error:
        raise MalformedKey(f"not a job id: {job_id!r} has a date that is out of range") from error


@dataclass(frozen=True)
class StoredFile:
    """A file in the store; `bytes` is its size, `sha256` the hex digest of its content."""

    key: str
    bytes: int
    sha256: str


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


_PARTIAL = ".partial-"
_synced: set[Path] = set()
"""Folders whose names this process knows to be durable; one that another has just made may not be."""
PROBE_BYTES = 1 << 20
"""About an image's size: a disk that is nearly full takes an empty file."""


class LocalImageStore:
    """Files under `root`; any number of processes may share it. Creates no folder until the first `put`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, data: bytes) -> StoredFile:
        """Store `data`, replacing an existing file; after the return it survives a power cut.

        Raises RenderError `storage_unavailable` when the disk does not accept it, and leaves no partial file.
        """
        return self.put_blocks(key, [data])

    def put_blocks(self, key: str, blocks: Iterable[bytes]) -> StoredFile:
        """Store the blocks, in order, as one file, like `put`; reading them may raise OSError, too."""
        digest, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for block in blocks:
                digest.update(block)
                size += len(block)
                yield block

        with translate_write_errors():
            _write_file(self.root, self.path(key), counted())
        return StoredFile(key=key, bytes=size, sha256=digest.hexdigest())

    def put_reduced(self, key: str, data: bytes) -> None:
        """Store a reduced copy next to the file of `key`; it is deleted with that file. Raises like `put`."""
        with translate_write_errors():
            _write_file(self.root, self._reduced_path(key), [data])

    def read_reduced(self, key: str) -> bytes:
        """Return the reduced copy of an image that is too large to be decoded, else the file itself. Raises like `read`."""
        try:
            return self._reduced_path(key).read_bytes()
        except OSError:
            return self.read(key)

    def find_reduced(self, key: str) -> bytes | None:
        """Return the reduced copy; None when the file has none. Raises like `read`."""
        try:
            with translate_read_errors(key):
                return self._reduced_path(key).read_bytes()
        except NotFound:
            return None

    def stat(self, key: str) -> StoredFile | None:
        """Return size and SHA-256 of a file, which is read for that; None when it does not exist. Raises like `read`."""
        try:
            with translate_read_errors(key), self.path(key).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return StoredFile(key=key, bytes=file.tell(), sha256=digest)
        except NotFound:
            return None

    def check_writable(self) -> None:
        """Write, sync and delete a file of PROBE_BYTES. Raises RenderError `storage_unavailable` when that fails."""
        with translate_write_errors():
            _write_partial(self.root, self.root / "probe", [bytes(PROBE_BYTES)]).unlink()

    def read(self, key: str) -> bytes:
        """Return the content. Raises NotFound `image_file_missing`, or Unavailable `storage_unavailable`."""
        path = self.path(key)
        with translate_read_errors(key):
            return path.read_bytes()

    def open(self, key: str) -> BinaryIO:
        """Open the file for reading: it can be read to its end even when it is deleted meanwhile. Raises like `read`."""
        with translate_read_errors(key):
            return self.path(key).open("rb")

    def is_there(self) -> bool:
        """Return whether the folder exists."""
        return self.root.is_dir()

    def local_path(self, key: str) -> Path | None:
        """Return the path of the file of `key`, whether or not it exists."""
        return self.path(key)

    def path(self, key: str) -> Path:
        """Return the path of the file of `key`, whether or not it exists."""
        return self.root / check_key(key)

    def _reduced_path(self, key: str) -> Path:
        path = self.path(key)
        return path.with_name(f"{path.name}.reduced")

    def delete(self, key: str) -> bool:
        """Delete the file, and the folders that this leaves empty; return False when it did not exist."""
        path = self.path(key)
        with translate_write_errors():
            self._reduced_path(key).unlink(missing_ok=True)
            try:
                path.unlink()
            except FileNotFoundError:
                return False
        _remove_empty(path.parent, self.root)
        return True

    def iter_keys(self, older_than_seconds: float = 0.0) -> Iterator[str]:
        """Yield keys of files last written more than that many seconds ago, in no order; other files are skipped."""
        latest = time.time() - older_than_seconds
        for path in self._files():
            if _modified_at(path) <= latest and (key := self._key_of(path)) is not None:
                yield key

    def sweep_partial(self, older_than_seconds: float = 3600.0) -> int:
        """Delete the partial files of killed writers, and return how many."""
        latest = time.time() - older_than_seconds
        swept = 0
        for path in self._files():
            if path.name.startswith(_PARTIAL) and _modified_at(path) <= latest:
                with suppress(OSError):
                    path.unlink()
                    swept += 1
        return swept

    def _files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                yield Path(folder, name)

    def _key_of(self, path: Path) -> str | None:
        try:
            return check_key(path.relative_to(self.root).as_posix())
        except MalformedKey:
            return None


def _write_file(root: Path, target: Path, blocks: Iterable[bytes]) -> None:
    """Write `target` in one step; what is there already is replaced only by the whole new file."""
    with _writing(root, target, blocks) as (partial, file, folders):
        # A file that is replaced must stay until the new one is durable; a new name may be durable before its content.
        is_new = not target.exists()
        if not is_new:
            os.fsync(file.fileno())
        partial.replace(target)
        try:
            joint_sync().sync(file.fileno() if is_new else None, [target.parent, *folders])
        except OSError:
            if is_new:
                target.unlink(missing_ok=True)
            raise
        _synced.add(target.parent)


def _write_partial(root: Path, target: Path, blocks: Iterable[bytes]) -> Path:
    """Write and fsync the blocks under a temporary name in the folder of `target`; leave no file when that fails."""
    with _writing(root, target, blocks) as (partial, file, _):
        os.fsync(file.fileno())
    return partial


@contextmanager
def _writing(root: Path, target: Path, blocks: Iterable[bytes]) -> Iterator[tuple[Path, BinaryIO, Sequence[Path]]]:
    """Write the blocks under a temporary name in the folder of `target`; delete that when this or the body fails.

    The folders are those above it whose names may not be durable.
    """
    partial = target.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
    opened, folders = _create(root, partial)
    with opened as file:
        try:
            file.writelines(blocks)
            file.flush()
            yield partial, file, folders
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _create(root: Path, path: Path) -> tuple[BinaryIO, Sequence[Path]]:
    """Open a new file for writing; try twice, because a concurrent `delete` may remove the empty folder in between."""
    with suppress(FileNotFoundError):
        folders = _make_folders(root, path.parent)
        return path.open("xb"), folders
    folders = _make_folders(root, path.parent)
    return path.open("xb"), folders


def _make_folders(root: Path, folder: Path) -> Sequence[Path]:
    """Create `folder`; return the folders to sync for its name to be durable: all up to the root's parent the first time."""
    if folder in _synced and folder.is_dir():
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    above = folder.parents
    return above[: above.index(root) + 2] if folder != root else above[:1]


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove `folder` and the folders above it, up to the first that is not empty."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _modified_at(path: Path) -> float:
    """Return seconds since 1970; a file that was deleted in the meantime counts as new."""
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
