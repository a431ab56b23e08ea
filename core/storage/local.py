"""The image store on a local or shared directory: whole files only, durable before their names appear."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from core.storage.files import StoredFile, describe_file, translate_read_errors, translate_write_errors
from core.storage.object_keys import MalformedKey, check_key

_PARTIAL = ".partial-"


class LocalImageStore:
    """Files under `root`; any number of processes may share it. Makes nothing until the first `put`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, data: bytes) -> StoredFile:
        """Store `data`, replacing what was there; on return it survives a power cut.

        Raises RenderError `storage_unavailable` when the disk does not take it; nothing half-written stays then.
        """
        target = self.path(key)
        with translate_write_errors():
            partial = _write_partial(self.root, target, data)
            try:
                partial.replace(target)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            _sync_directory(target.parent)
        return describe_file(key, data)

    def read(self, key: str) -> bytes:
        """The content. Raises NotFound `image_file_missing`, or Unavailable `storage_unavailable`."""
        path = self.path(key)
        with translate_read_errors(key):
            return path.read_bytes()

    def path(self, key: str) -> Path:
        """Where the file of `key` is or would be, for handing it to sendfile."""
        return self.root / check_key(key)

    def delete(self, key: str) -> bool:
        """Remove the file, and folders that this empties; False when it was not there."""
        path = self.path(key)
        with translate_write_errors():
            try:
                path.unlink()
            except FileNotFoundError:
                return False
        _remove_empty(path.parent, self.root)
        return True

    def iter_keys(self, older_than_seconds: float = 0.0) -> Iterator[str]:
        """Keys of files last written more than that many seconds ago, in no order; other files are passed over."""
        latest = time.time() - older_than_seconds
        for path in self._files():
            if _modified_at(path) <= latest and (key := self._key_of(path)) is not None:
                yield key

    def sweep_partial(self, older_than_seconds: float = 3600.0) -> int:
        """Delete what writers that were killed left half-written; returns how many files went."""
        latest = time.time() - older_than_seconds
        swept = 0
        for path in self._files():
            if path.name.startswith(_PARTIAL) and _modified_at(path) <= latest:
                with suppress(OSError):
                    path.unlink()
                    swept += 1
        return swept

    def used_bytes(self) -> int:
        """Total size of the files, in bytes; walks the whole tree."""
        return sum(_size(path) for path in self._files())

    def _files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                yield Path(folder, name)

    def _key_of(self, path: Path) -> str | None:
        try:
            return check_key(path.relative_to(self.root).as_posix())
        except MalformedKey:
            return None


def _write_partial(root: Path, target: Path, data: bytes) -> Path:
    """Write and fsync `data` under a temporary name beside `target`; leaves no file when that fails."""
    partial = target.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
    with _create(root, partial) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    return partial


def _create(root: Path, path: Path) -> BinaryIO:
    """A new file, open for writing; a second try in case a `delete` elsewhere just removed the empty folder."""
    with suppress(FileNotFoundError):
        _make_folders(root, path.parent)
        return path.open("xb")
    _make_folders(root, path.parent)
    return path.open("xb")


def _make_folders(root: Path, folder: Path) -> None:
    """Make `folder`, and make its new name durable in every folder above it up to the root's own parent."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for made in (folder, *folder.parents):
        _sync_directory(made.parent)
        if made == root:
            return


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove `folder` and the empty ones above it; a folder in use refuses, and that ends it."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _modified_at(path: Path) -> float:
    """Seconds since 1970; a file that vanished meanwhile counts as new."""
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
