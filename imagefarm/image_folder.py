"""Save images into a folder with an index, so that no image is saved there twice."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from core.errors import FarmError, InvalidInput
from core.schemas.jobs import Output
from core.storage import export_file

INDEX_NAME = ".imagefarm-saved.jsonl"


@dataclass(frozen=True)
class SavedImage:
    """The path of an image, which may have been deleted since; `new`: this call wrote it."""

    path: Path
    new: bool


class ImageFolder:
    """A folder of images. Several processes may save into it at once; one of them writes each image.

    A hidden index file lists every image by id. A file that a killed process wrote but did not list is recognised by
    its content. `by_day`: write new files into a subfolder per day.
    """

    def __init__(self, directory: Path, *, by_day: bool = False) -> None:
        self.directory = directory
        self._by_day = by_day
        self._names: dict[str, str] = {}
        self._read_to = 0

    def save(self, output: Output, made_at: datetime, fetch: Callable[[], bytes], *, restore: bool = True) -> SavedImage:
        """Write the image under a name with the time `made_at`, unless the folder has it.

        `restore`: write an image again whose file was deleted; otherwise it counts as saved. Raises InvalidInput
        `export_failed` when the folder cannot be written, FarmError `image_damaged` when the SHA-256 differs.
        """
        with self._locked_index() as index:
            known = self._known(output, index, restore)
        if known is not None:
            return SavedImage(known, new=False)
        data = fetch()
        _check(output, data)
        with self._locked_index() as index:
            known = self._known(output, index, restore)  # another process may have saved it meanwhile
            if known is not None:
                return SavedImage(known, new=False)
            path = export_file(self.directory, data, made_at, extension=_extension(output), by_day=self._by_day)
            self._record(index, output, path)
        return SavedImage(path, new=True)

    def has(self, image_ids: Iterable[str]) -> bool:
        """Return whether all of these were saved here before, even if their files were deleted since."""
        with self._locked_index():
            return self._names.keys() >= set(image_ids)

    def _known(self, output: Output, index: TextIO, restore: bool) -> Path | None:
        if (name := self._names.get(output.id)) is not None:
            path = self.directory / name
            return path if path.exists() or not restore else None
        unlisted = self._unlisted(output)
        if unlisted is not None:
            self._record(index, output, unlisted)
        return unlisted

    def _unlisted(self, output: Output) -> Path | None:
        """Return a file with this content that the index does not list."""
        listed = set(self._names.values())
        for path in (*self.directory.glob("outputs_*"), *self.directory.glob("*/outputs_*")):
            if path.stat().st_size != output.bytes or path.relative_to(self.directory).as_posix() in listed:
                continue
            if hashlib.sha256(path.read_bytes()).hexdigest() == output.sha256:
                return path
        return None

    def _record(self, index: TextIO, output: Output, path: Path) -> None:
        name = path.relative_to(self.directory).as_posix()
        index.write(json.dumps({"image": output.id, "file": name}) + "\n")
        index.flush()
        self._names[output.id] = name
        self._read_to = index.tell()

    @contextmanager
    def _locked_index(self) -> Iterator[TextIO]:
        """Open the index with an exclusive lock and read its new entries."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            index = (self.directory / INDEX_NAME).open("a+", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                f"Could not save images in '{self.directory}': {error.strerror or error}.", code="export_failed"
            ) from error
        with index:
            fcntl.flock(index, fcntl.LOCK_EX)
            index.seek(self._read_to)
            for line in index.read().splitlines():
                self._read_entry(line)
            self._read_to = index.tell()
            yield index

    def _read_entry(self, line: str) -> None:
        try:
            row = json.loads(line)
            self._names[str(row["image"])] = str(row["file"])
        except (ValueError, KeyError, TypeError):
            return  # a crash cut the line short; the file is recognised by its content


def _extension(output: Output) -> str:
    return "jpg" if output.format == "jpeg" else output.format


def _check(output: Output, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != output.sha256:
        raise FarmError(
            f"The SHA-256 of image {output.id} differs from the stored one. Try again; if the error persists, the file in "
            "the farm's image directory is damaged.",
            code="image_damaged",
        )
