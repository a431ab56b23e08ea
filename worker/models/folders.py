"""Folders that are either whole or not there: made aside, marked last, then renamed into place."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.catalogue.marker import Marker, read_marker, size_of, write_marker
from core.ids import new_id


@dataclass(frozen=True)
class Contents:
    """What a folder is about to hold; see `core.catalogue.marker.Marker`."""

    model: str
    origin: Literal["built", "hub", "folder"]
    source: str
    dtype: str
    revision: str | None = None


@contextmanager
def whole_folder(final: Path, contents: Contents) -> Iterator[Path]:
    """Yields an empty folder to fill; on success it takes the place of `final`, on an error nothing changes.

    Two processes may do this at once: the first to finish stands, since others may read its files already.
    """
    before = read_marker(final)
    draft = final.parent / f".{final.name}.{new_id()}.part"
    draft.mkdir(parents=True)
    try:
        yield draft
        write_marker(draft, _marker(draft, contents))
        _put_in_place(draft, final, before)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _marker(draft: Path, contents: Contents) -> Marker:
    return Marker(
        model=contents.model,
        origin=contents.origin,
        source=contents.source,
        revision=contents.revision,
        dtype=contents.dtype,
        size_bytes=size_of(draft),
        made_at=time.time(),
    )


def _put_in_place(draft: Path, final: Path, before: Marker | None) -> None:
    """Rename, moving what was there aside, unless a rival has finished meanwhile."""
    old = final.parent / f".{final.name}.{new_id()}.old"
    if read_marker(final) == before:
        with suppress(FileNotFoundError):
            final.rename(old)
    try:
        draft.rename(final)
    except OSError:
        if read_marker(final) is None:
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def remove_drafts(parent: Path, older_than_seconds: float = 86_400.0) -> list[Path]:
    """Delete drafts that a killed process left behind; younger ones may still be at work."""
    limit = time.time() - older_than_seconds
    leftovers = [path for suffix in ("part", "old") for path in parent.glob(f".*.{suffix}")]
    stale = [path for path in leftovers if path.is_dir() and path.stat().st_mtime < limit]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    return stale
