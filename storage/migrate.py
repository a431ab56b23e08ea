"""Copy all images and uploads from one place to another; what is there already with the same checksum is left alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from core.errors import FarmError, NotFound
from core.storage.store import ImageStore, RemoteFile
from core.storage_url import FileLocation, Location
from storage.stores import open_part

PARTS = ("images", "uploads")
_THREADS = 8
_CHUNK = 256
_BLOCK_BYTES = 2**20


@dataclass
class Moved:
    """What a migration did: files and bytes copied, files that were there, and why others are not."""

    copied: int = 0
    bytes: int = 0
    present: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def migrate(source: Location, target: Location, on_file: Callable[[Moved], object] = lambda moved: None) -> Moved:
    """Copy every file of `source` that `target` lacks, several at a time; `on_file` is called after each.

    Each copy is compared with its source by size and SHA-256. It deletes nothing, and can be repeated at any time. Raises
    FarmError when the source is no folder of a farm or cannot be listed, or the target takes no files.
    """
    _check_source(source)
    moved = Moved()
    for part in PARTS:
        store, other = open_part(source, part), open_part(target, part)
        other.check_writable()
        keys = store.iter_keys()
        with ThreadPoolExecutor(_THREADS) as threads:
            while chunk := list(itertools.islice(keys, _CHUNK)):
                for key, size in zip(chunk, threads.map(lambda key: _copy(store, other, key), chunk), strict=True):  # noqa: B023
                    _count(moved, f"{part}/{key}", size)
                    on_file(moved)
    return moved


def _check_source(source: Location) -> None:
    """Raise NotFound for a folder that is missing or of something else, which would be taken for an empty store."""
    if isinstance(source, FileLocation) and not any((source.root / part).is_dir() for part in PARTS):
        raise NotFound(
            f"{source.root} has neither a folder images nor uploads: name the farm's data directory, or the folder of its "
            "IMAGEFARM_STORAGE_URL.",
            code="storage_not_found",
        )


def _count(moved: Moved, name: str, size: int | str | None) -> None:
    if isinstance(size, str):
        moved.failed[name] = size
    elif size is None:
        moved.present += 1
    else:
        moved.copied += 1
        moved.bytes += size


def _copy(source: ImageStore, target: ImageStore, key: str) -> int | str | None:
    """Return the bytes copied, None when the file was there or was deleted meanwhile, or why it could not be copied."""
    try:
        expected = source.stat(key)
        if expected is None:
            return None
        reduced = source.find_reduced(key)
        size = None
        if target.stat(key) != expected:
            size = target.put_blocks(key, _blocks(source, key)).bytes
            if target.stat(key) != expected:
                return "the copy differs from the file; look for a fault of disk or network, then run the command again"
        if reduced is not None and target.find_reduced(key) != reduced:
            target.put_reduced(key, reduced)
    except NotFound:
        return None
    except FarmError as error:
        return error.message
    return size


def _blocks(store: ImageStore, key: str) -> Iterator[bytes]:
    with closing(store.open(key)) as file:
        if isinstance(file, RemoteFile):
            yield from file.blocks()
            return
        while block := file.read(_BLOCK_BYTES):
            yield block
