"""The user's catalogue, `models.toml` in the data directory: read it row by row, add and remove rows as text.

Rows are added at the end and cut out as text, so that comments and edits by hand stay as they are.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.catalogue.catalogue import CatalogueModel, load_catalogue
from core.catalogue.user_rows import make_row
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import new_id

USER_FILE = "models.toml"
_MAX_BYTES = 4 * 2**20
_HEAD = re.compile(r"^[ \t]*\[\[[ \t]*(?:model|\"model\"|'model')[ \t]*\]\]", re.MULTILINE)
_INTRODUCTION = (
    "# Models of this farm besides the shipped ones. `imagefarm models add` and `remove` change this file;\n"
    "# you may edit it too. Its fields are described in docs/reference/models.md.\n"
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class UserRows:
    """The rows that can be used. `problems`: what is wrong with the others, each a sentence that names file and line."""

    models: tuple[CatalogueModel, ...] = ()
    problems: tuple[str, ...] = ()


def user_file(data_dir: Path) -> Path:
    """Return the path of the user's catalogue, whether or not it exists."""
    return data_dir / USER_FILE


def read_user_rows(file: Path) -> UserRows:
    """Return the file's rows; a damaged row or file becomes a problem and leaves the other rows as they are."""
    try:
        text = _text_of(file)
        tables = _tables(text, file)
    except InvalidInput as error:
        return UserRows(problems=(error.message,))
    lines = [text.count("\n", 0, found.start()) + 1 for found in _HEAD.finditer(text)]
    models: list[CatalogueModel] = []
    problems: list[str] = []
    taken = {name: f"the shipped model {row.id}" for row in load_catalogue() for name in (row.id, *row.aliases)}
    for index, table in enumerate(tables):
        where = f"{file}, line {lines[index]}" if len(lines) == len(tables) else f"{file}, model {index + 1}"
        try:
            model = make_row(table, file.parent)
            for name in (model.id, *model.aliases):
                if name in taken:
                    raise InvalidInput(f"the name '{name}' is that of {taken[name]}")
        except InvalidInput as error:
            problems.append(f"{where}: {_named(table)}{error.message}. This row is left out.")
            continue
        models.append(model)
        taken |= dict.fromkeys((model.id, *model.aliases), "an earlier row")
    return UserRows(tuple(models), tuple(problems))


def _named(table: Mapping[str, Any]) -> str:
    return f"'{table['id']}': " if isinstance(table.get("id"), str) else ""


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror or error}. Your own models are left out.") from error
    if len(data) > _MAX_BYTES:
        raise InvalidInput(f"{file} has more than {_MAX_BYTES:,} bytes: it is no list of models. It is left out.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{file}, line {line}: this is not UTF-8 text. Save it as UTF-8; until then your own models are left out."
        ) from None


def _tables(text: str, file: Path) -> list[Mapping[str, Any]]:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"\(at (?:line (\d+), column \d+|end of document)\)", str(error))
        line = int(place[1]) if place and place[1] else text.count("\n") + 1
        what = re.sub(r" \(at .*\)$", "", str(error))
        raise InvalidInput(
            f"{file}, line {line}: {what}. Correct this line, or move the file away. Your own models are left out."
        ) from None
    tables = data.get("model", [])
    strange = sorted(data.keys() - {"model"})
    if strange or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        what = f"'{strange[0]}' is not known here" if strange else "`model` is not a list of tables"
        raise InvalidInput(f"{file}: {what}. Write one `[[model]]` table for each model; until then they are left out.")
    return tables


def add_user_row(file: Path, table: Mapping[str, Any]) -> CatalogueModel:
    """Append a row to the file and return it. Raises InvalidInput or Conflict, and then leaves the file unchanged."""
    model = make_row(table, file.parent)
    with _changing(file):
        text = _text_of(file)
        _refuse_known(model, text, file)
        changed = (text or _INTRODUCTION).rstrip("\n") + "\n\n" + _toml(table)
        _tables(changed, file)
        _write(file, changed)
    return model


def _refuse_known(model: CatalogueModel, text: str, file: Path) -> None:
    known = {name for row in load_catalogue() for name in (row.id, *row.aliases)}
    known |= {str(table.get("id")) for table in _tables(text, file)}
    if model.id in known:
        raise Conflict(f"There is a model called {model.id} already. Choose another name with --name.", code="model_exists")


def remove_user_row(file: Path, model_id: str) -> Mapping[str, Any]:
    """Cut a row out of the file and return its table; files that the row names stay. Raises NotFound or InvalidInput."""
    with _changing(file):
        text = _text_of(file)
        tables = _tables(text, file)
        index = next((index for index, table in enumerate(tables) if table.get("id") == model_id), None)
        if index is None:
            raise NotFound(f"{file} has no model called {model_id}.", code="model_not_found")
        changed = _without(text, index)
        if _tables(changed, file) != [*tables[:index], *tables[index + 1 :]]:
            raise InvalidInput(f"{file} is written in a way that cannot be changed here: remove {model_id} with an editor.")
        _write(file, changed)
    return tables[index]


def _without(text: str, index: int) -> str:
    """Cut from a table's head to the next one's, whose comments right above it stay."""
    starts = [found.start() for found in _HEAD.finditer(text)]
    if index >= len(starts):
        return text
    start = starts[index]
    end = starts[index + 1] if index + 1 < len(starts) else len(text)
    block = text[start:end].splitlines(keepends=True)
    if end < len(text):
        while len(block) > 1 and block[-1].lstrip().startswith("#"):
            end -= len(block.pop())
    return text[:start] + text[end:]


@contextmanager
def _changing(file: Path) -> Iterator[None]:
    """Let one process at a time change the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(file: Path, text: str) -> None:
    """Replace the file as a whole, so that a reader or a crash never sees half of it."""
    draft = file.with_name(f".{file.name}.{new_id()}")
    try:
        with draft.open("x", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            draft.chmod(file.stat().st_mode & 0o777)
        draft.replace(file.resolve() if file.is_symlink() else file)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _toml(table: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    nested = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    lines = ["[[model]]", *(f"{name} = {_value(value)}" for name, value in plain.items())]
    for name, values in nested.items():
        lines += [f"[model.{name}]", *(f"{_key(key)} = {_value(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _value(name)


def _value(value: object) -> str:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidInput("The file's name is not valid UTF-8 text: rename it first.") from None
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value)
