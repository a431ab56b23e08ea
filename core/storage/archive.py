"""Build a zip of images piece by piece: what was added is taken out at once, so that memory holds one image."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import IO, Any, Literal

from core.csv_text import cell_text
from core.storage.export import day_of, name_stem, numbered

MetadataKind = Literal["jsonl", "csv", "none"]
Layout = Literal["flat", "by-day"]
COLUMNS = (
    *("file", "missing", "id", "job_id", "batch_id", "index", "model", "prompt", "negative_prompt", "width", "height"),
    *("num_inference_steps", "guidance_scale", "seed", "strength", "start_sigma", "preset", "loras", "rating", "created_at"),
    "sha256",
)
"""Columns of the CSV; those that are not in the row itself are taken from its `input`."""
_SPOOLED_BYTES, _CHUNK = 2**20, 2**18
_OLDEST_ZIP_YEAR, _LATEST_ZIP_YEAR = 1980, 2107


class _Pipe:
    """A file for writing only, whose content is taken out as it comes; without `seek`, zipfile adds sizes afterwards."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class ImageArchive:
    """A zip of images under their readable names, with a file of metadata at its end. Not thread-safe.

    Images are stored without compression, which they have already. Each call returns bytes to send. The metadata waits in a
    temporary file once it is larger than a megabyte; the archive's own list takes about a kilobyte of memory per image.
    """

    def __init__(self, *, layout: Layout = "flat", metadata: MetadataKind = "jsonl") -> None:
        self._pipe = _Pipe()
        self._zip = zipfile.ZipFile(self._pipe, "w", zipfile.ZIP_STORED)  # type: ignore[call-overload]
        self._rest: Generator[bytes, None, None] | None = None
        self._layout, self._kind = layout, metadata
        self._taken: dict[str, int] = {}
        self._missing = 0
        self._rows: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115 -- closed by `close`

    def add(self, data: bytes, moment: datetime, extension: str, row: Mapping[str, Any]) -> bytes:
        """Add an image that was finished at `moment`, and its metadata."""
        name = self._name(moment, extension)
        self._zip.writestr(_entry(name, moment), data)
        self._record({"file": name, "missing": None, **row})
        return self._pipe.take()

    def miss(self, reason: str, row: Mapping[str, Any]) -> None:
        """Record that an image is not in the archive, and why."""
        self._missing += 1
        self._record({"file": None, "missing": reason, **row})

    def finish(self) -> Iterator[bytes]:
        """Return the rest: metadata and the list of files. Without metadata, images that are missing are listed alone."""
        self._rest = self._finish()
        return self._rest

    def _finish(self) -> Generator[bytes, None, None]:
        if self._kind != "none" or self._missing:
            name = {"jsonl": "metadata.jsonl", "csv": "metadata.csv", "none": "missing.jsonl"}[self._kind]
            entry = _entry(name, datetime.now().astimezone())
            entry.compress_type = zipfile.ZIP_DEFLATED
            self._rows.seek(0)
            with self._zip.open(entry, "w", force_zip64=True) as file:
                while chunk := self._rows.read(_CHUNK):
                    file.write(chunk)
                    yield self._pipe.take()
        self._zip.close()
        yield self._pipe.take()

    def close(self) -> None:
        """Delete the temporary file; also in the middle, when the client is gone."""
        with suppress(ValueError):  # a thread may still be adding an image
            if self._rest is not None:
                self._rest.close()
            self._zip.close()
        self._rows.close()

    def _name(self, moment: datetime, extension: str) -> str:
        stem = name_stem(moment)
        number = self._taken.get(stem, 0)
        self._taken[stem] = number + 1
        name = numbered(stem, number, extension)
        return f"{day_of(moment)}/{name}" if self._layout == "by-day" else name

    def _record(self, row: Mapping[str, Any]) -> None:
        if self._kind == "csv":
            self._rows.write(_csv_line(row, header=self._rows.tell() == 0))
        elif self._kind == "jsonl" or row["file"] is None:
            self._rows.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


def _entry(name: str, moment: datetime) -> zipfile.ZipInfo:
    local = moment.astimezone()
    year = min(max(local.year, _OLDEST_ZIP_YEAR), _LATEST_ZIP_YEAR)
    entry = zipfile.ZipInfo(name, (year, local.month, local.day, local.hour, local.minute, local.second))
    entry.external_attr = 0o644 << 16
    return entry


def _csv_line(row: Mapping[str, Any], *, header: bool) -> bytes:
    given = row.get("input") or {}
    values = {name: row.get(name, given.get(name)) for name in COLUMNS}
    values["loras"] = " ".join(f"{lora['name']}:{lora['scale']:g}" for lora in given.get("loras", ()))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    if header:
        writer.writeheader()
    writer.writerow({name: cell_text(value) if isinstance(value, str) else value for name, value in values.items()})
    return text.getvalue().encode("utf-8", "replace")
