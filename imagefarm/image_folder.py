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
    """Where an image is, or was; `new`: it was written just now."""

    path: Path
    new: bool


class ImageFolder:
    """Any number of processes may save into the same folder: each image is written by one of them.

    A hidden file in the folder lists every image by id. A file that a killed process wrote but did not list is known
    by its content. `by_day` puts new files into a folder per day.
    """

    def __init__(self, directory: Path, *, by_day: bool = False) -> None:
        self.directory = directory
        self._by_day = by_day
        self._names: dict[str, str] = {}
        self._read_to = 0

    def save(self, output: Output, made_at: datetime, fetch: Callable[[], bytes], *, restore: bool = True) -> SavedImage:
        """Writes the image under the name of the moment it was made, unless it is here.

        `restore`: an image that was saved and whose file is gone is written again; else it counts as here.
        """
        with self._locked_index() as index:
            known = self._known(output, index, restore)
        if known is not None:
            return SavedImage(known, new=False)
        data = fetch()
        _check(output, data)
        with self._locked_index() as index:
            known = self._known(output, index, restore)  # another process may have been faster
            if known is not None:
                return SavedImage(known, new=False)
            path = export_file(self.directory, data, made_at, extension=_extension(output), by_day=self._by_day)
            self._note(index, output, path)
        return SavedImage(path, new=True)

    def has(self, image_ids: Iterable[str]) -> bool:
        """Whether all of these were saved here once, whatever became of the files since."""
        with self._locked_index():
            return self._names.keys() >= set(image_ids)

    def _known(self, output: Output, index: TextIO, restore: bool) -> Path | None:
        if (name := self._names.get(output.id)) is not None:
            path = self.directory / name
            return path if path.exists() or not restore else None
        unlisted = self._unlisted(output)
        if unlisted is not None:
            self._note(index, output, unlisted)
        return unlisted

    def _unlisted(self, output: Output) -> Path | None:
        """A file of exactly this content that the list does not name."""
        listed = set(self._names.values())
        for path in (*self.directory.glob("outputs_*"), *self.directory.glob("*/outputs_*")):
            if path.stat().st_size != output.bytes or path.relative_to(self.directory).as_posix() in listed:
                continue
            if hashlib.sha256(path.read_bytes()).hexdigest() == output.sha256:
                return path
        return None

    def _note(self, index: TextIO, output: Output, path: Path) -> None:
        name = path.relative_to(self.directory).as_posix()
        index.write(json.dumps({"image": output.id, "file": name}) + "\n")
        index.flush()
        self._names[output.id] = name
        self._read_to = index.tell()

    @contextmanager
    def _locked_index(self) -> Iterator[TextIO]:
        """The list, held by this process alone and read to its end."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            index = (self.directory / INDEX_NAME).open("a+", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                f"Could not save pictures in '{self.directory}': {error.strerror or error}.", code="export_failed"
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
            return  # a line that a crash cut short: the file is then known by its content


def _extension(output: Output) -> str:
    return "jpg" if output.format == "jpeg" else output.format


def _check(output: Output, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != output.sha256:
        raise FarmError(
            f"Image {output.id} did not arrive as it was stored (its SHA-256 differs): try again. If that stays so, the "
            "farm's image directory is damaged.",
            code="image_damaged",
        )
