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
from core.parameters.loras import parse_lora
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
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text; save it as UTF-8"
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
    """Yield (line, fields). The first line names the columns; skip empty cells and rows; `metadata.x` is metadata key x.

    A cell of `loras` is a list such as `ink:0.8; gold`, and one of `styles` a list of names.
    """
    records = _records(path, text, _separator(text))
    head, header = next(records, (1, []))
    names = [cell.strip() for cell in header]
    if "prompt" not in names:
        raise _invalid(path, f"line {head} must name the columns, including `prompt`, such as: prompt,width,height,seed")
    if doubled := sorted(name for name, count in Counter(names).items() if name and count > 1):
        raise _invalid(
            path, f"line {head} names the column `{doubled[0]}` {names.count(doubled[0])} times: keep one of them."
        )
    for line, cells in records:
        filled = [(position, cell) for position, cell in enumerate(cells) if cell.strip()]
        for position, cell in filled:
            if position >= len(names):
                raise _invalid(
                    path,
                    f"line {line} has more cells than line {head} has names, beginning with {cell[:40]!r}. Put a cell that "
                    'holds a separator between double quotes: "a cat, asleep".',
                )
            if not names[position]:
                raise _invalid(
                    path, f"line {line} has {cell[:40]!r} in column {position + 1}, which line {head} does not name."
                )
        if filled:
            yield line, _from_cells({names[position]: cell for position, cell in filled})


_SEPARATORS = ",;\t"
_HINT = "sep="


def _separator(text: str) -> str:
    """Return the separator with which the first line names the most columns, `prompt` among them; a comma otherwise."""

    def columns(separator: str) -> int:
        names = [name.strip() for name in next(csv.reader(io.StringIO(text.lstrip("\n")), delimiter=separator), [])]
        return len(names) if "prompt" in names else 0

    if text.startswith(_HINT) and text[len(_HINT) : len(_HINT) + 1] in _SEPARATORS:  # Excel's first line
        return text[len(_HINT)]
    return max(_SEPARATORS, key=columns)


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of every record that has any; a cell between quotes may hold line breaks."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    line = 1
    try:
        for cells in reader:
            if cells and not (line == 1 and cells[0] == _HINT):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        advice = "Begin and end a quoted cell with one double quote, and write two for a quote inside of it."
        raise _invalid(path, f"line {line} is not CSV: {error}. {advice}") from error


def _from_cells(given: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: value for name, value in given.items() if not name.startswith(_METADATA)}
    metadata = {name.removeprefix(_METADATA): value for name, value in given.items() if name.startswith(_METADATA)}
    if "loras" in fields:
        fields["loras"] = [parse_lora(part) for part in given["loras"].split(";") if part.strip()]
    if "styles" in fields:
        fields["styles"] = [name.strip() for name in given["styles"].split(";") if name.strip()]
    return fields | ({"metadata": metadata} if metadata else {})


def _invalid(path: Path, why: str) -> InvalidInput:
    return InvalidInput(f"Job file {path}: {why}", code="batch_file_invalid")
