"""Read and validate the rows of a job file (JSON Lines or CSV); each row is a job request."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidInput
from core.parameters import InvalidParameters
from core.schemas.jobs import JobRequest
from imagefarm.job_requests import request_from

_SHOWN_PROBLEMS = 10
_METADATA = "metadata."
_EXAMPLE = 'Write one object per line: {"prompt": "a cat"}'


@dataclass(frozen=True)
class Row:
    """A row. `line`: line number from 1. `identity`: digest of the request, the same after other rows are added or moved."""

    line: int
    request: JobRequest
    identity: str


def read_rows(path: Path) -> list[Row]:
    """Return all rows. Raises InvalidInput `batch_file_invalid` with the problems by line."""
    rows, problems, seen = list[Row](), list[str](), Counter[str]()
    for line, fields in _fields(path):
        try:
            request = request_from(fields)
        except InvalidParameters as error:
            problems += [f"line {line}: {field}: {message}" for field, message in error.problems]
            continue
        digest = _digest(request)
        rows.append(Row(line, request, f"{digest}-{seen[digest]}"))
        seen[digest] += 1
    if problems:
        more = [f"... and {len(problems) - _SHOWN_PROBLEMS} more"] if len(problems) > _SHOWN_PROBLEMS else []
        raise _invalid(path, "\n".join(["", *problems[:_SHOWN_PROBLEMS], *more]))
    if not rows:
        raise _invalid(path, "it has no rows.")
    return rows


def _digest(request: JobRequest) -> str:
    text = json.dumps(request.as_sent(), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fields(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise _invalid(path, f"could not read it: {why}.") from error
    return _from_csv(path, text) if path.suffix.lower() == ".csv" else _from_json_lines(path, text)


def _from_json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, fields) from objects with a job's fields or prompts as JSON strings; skip empty lines."""
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            value = json.loads(content)
        except ValueError as error:
            raise _invalid(path, f"line {line} is not JSON ({error}). {_EXAMPLE}") from error
        if isinstance(value, str):
            value = {"prompt": value}
        if not isinstance(value, dict):
            raise _invalid(path, f"line {line} is neither an object nor a string. {_EXAMPLE}")
        yield line, value


def _from_csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, fields). The first line names the fields; skip empty cells; column `metadata.x` is metadata key x."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if "prompt" not in (reader.fieldnames or ()):
        raise _invalid(path, "its first line must name the columns, including `prompt`, such as: prompt,width,height,seed")
    try:
        for cells in reader:
            if None in cells:
                raise _invalid(path, f"line {reader.line_num} has more cells than the first line has names.")
            yield reader.line_num, _from_cells(cells)
    except csv.Error as error:
        raise _invalid(path, f"line {reader.line_num} is not CSV: {error}.") from error


def _from_cells(cells: dict[str, str | None]) -> dict[str, Any]:
    given = {name.strip(): value for name, value in cells.items() if value is not None and value.strip()}
    fields: dict[str, Any] = {name: value for name, value in given.items() if not name.startswith(_METADATA)}
    metadata = {name.removeprefix(_METADATA): value for name, value in given.items() if name.startswith(_METADATA)}
    return fields | ({"metadata": metadata} if metadata else {})


def _invalid(path: Path, why: str) -> InvalidInput:
    return InvalidInput(f"Job file {path}: {why}", code="batch_file_invalid")
