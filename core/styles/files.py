"""Read and write styles in the files of A1111 (CSV) and Fooocus (JSON)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Literal

from core.errors import InvalidInput
from core.schemas.base import storable
from core.styles.styles import MAX_NAME, MAX_PER_OWNER, MAX_TEXT, Style

StyleFormat = Literal["a1111", "fooocus"]
"""`a1111`: CSV with name, prompt, negative_prompt; `fooocus`: a JSON list of objects with these fields."""


def read_styles(text: str, format: StyleFormat) -> list[Style]:
    """Return the styles of a file's text, without rows that have neither text. Raises InvalidInput `styles_invalid`."""
    rows = _csv_rows(text) if format == "a1111" else _json_rows(text)
    found: dict[str, Style] = {}
    for where, row in rows:
        if (style := _style(where, row)) is not None:
            found[style.name] = style  # The last row of a name wins, as in A1111.
        if len(found) > MAX_PER_OWNER:
            raise _invalid(f"it has more than {MAX_PER_OWNER} styles: split it")
    if not found:
        raise _invalid("it has no styles. The first line of a CSV is: name,prompt,negative_prompt")
    return list(found.values())


def write_styles(styles: Iterable[Style], format: StyleFormat) -> str:
    """Return the text of a file with these styles."""
    rows = [{"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative_prompt} for style in styles]
    if format == "fooocus":
        return json.dumps(rows, ensure_ascii=False, indent=4) + "\n"
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["name", "prompt", "negative_prompt"])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _csv_rows(text: str) -> list[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), skipinitialspace=True, strict=True)
    rows: list[tuple[str, dict[str, Any]]] = []
    try:
        if "name" not in (reader.fieldnames or ()):
            raise _invalid("its first line must name the columns: name,prompt,negative_prompt")
        for row in reader:
            if None in row:
                raise _invalid(f"line {reader.line_num} has more cells than columns: put texts with commas in quotes")
            old_prompt = {"prompt": row["text"]} if "prompt" not in row and "text" in row else {}
            rows.append((f"line {reader.line_num}", {**row, **old_prompt}))
    except csv.Error as error:
        raise _invalid(f"line {reader.line_num} is not CSV: {error}") from error
    return rows


def _json_rows(text: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        rows = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise _invalid(f"it is not JSON ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _invalid('it is not a list of objects such as {"name": "ink", "prompt": "ink drawing of {prompt}"}')
    return [(f"entry {number}", row) for number, row in enumerate(rows, 1)]


def _style(where: str, row: dict[str, Any]) -> Style | None:
    values: dict[str, str] = {}
    for field, limit in (("name", MAX_NAME), ("prompt", MAX_TEXT), ("negative_prompt", MAX_TEXT)):
        value = row.get(field)
        if not isinstance(value, str | None):
            raise _invalid(f"{field} of {where} is not a text")
        values[field] = (value or "").strip()
        if len(values[field]) > limit:
            raise _invalid(f"{field} of {where} has {len(values[field])} characters: at most {limit} are accepted")
        try:
            storable(values[field])
        except ValueError as error:
            raise _invalid(f"{field} of {where} {error}") from None
    if not values["prompt"] and not values["negative_prompt"]:
        return None  # A1111's own files hold such rows as headings.
    if not values["name"]:
        raise _invalid(f"{where} has no name")
    return Style(**values)


def _invalid(why: str) -> InvalidInput:
    return InvalidInput(f"The styles cannot be read: {why}.", field="text", code="styles_invalid")
