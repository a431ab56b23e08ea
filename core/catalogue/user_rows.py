"""Make catalogue rows from a user's tables: the fields of a shipped row, with what the user states on top."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.catalogue.catalogue import CatalogueModel, load_catalogue
from core.errors import InvalidInput

_OWN = frozenset({"id", "title", "about", "aliases", "built_locally", "folder", "files", "weights"})
"""Fields that a row does not take from its base, or takes in part."""
REQUIRED = frozenset({"id", "base"})


def make_row(table: Mapping[str, Any], directory: Path) -> CatalogueModel:
    """Return the row of one `[[model]]` table; relative paths start at `directory`.

    Raises InvalidInput, whose message names the field and what is wrong with it.
    """
    for name in sorted(REQUIRED):
        if not isinstance(table.get(name), str):
            raise InvalidInput(f"`{name}` is missing: write the model's name, or the shipped model that it is like")
    base = load_catalogue().get(table["base"])
    if base.built_locally:
        raise InvalidInput(f"`base` is {base.id}, which has random weights: name a trained model")
    fields = base.model_dump(exclude=set(_OWN)) | _own_fields(table, base)
    given = {name: value for name, value in table.items() if name not in ("base", "weights", "folder", "files")}
    for name in ("defaults", "limits"):
        if isinstance(given.get(name), Mapping):
            given[name] = fields[name] | dict(given[name])
    fields |= given | _places(table, directory)
    try:
        return CatalogueModel.model_validate(fields)
    except ValidationError as error:
        raise InvalidInput(_explain(error)) from None


def _own_fields(table: Mapping[str, Any], base: CatalogueModel) -> dict[str, Any]:
    given = table.get("weights", {})
    if not isinstance(given, Mapping):
        raise InvalidInput("`weights` is not a table")
    weights = base.weights.model_dump() | {"repo": "", "revision": None, "variant": None, "download_gigabytes": 0.0}
    return {"title": table["id"], "about": f"Your own weights, used like {base.title}.", "weights": weights | dict(given)}


def _places(table: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if folder := table.get("folder"):
        found["folder"] = _path(folder, "folder", directory)
    files = table.get("files", {})
    if not isinstance(files, Mapping):
        raise InvalidInput("`files` is not a table of components and paths")
    if files:
        found["files"] = {name: _path(value, f"files.{name}", directory) for name, value in files.items()}
    return found


def _path(value: object, field: str, directory: Path) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidInput(f"`{field}` is not a path")
    return directory / Path(value).expanduser()


def _explain(error: ValidationError) -> str:
    texts = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "there is no such field"
        texts.append(f"`{field}`: {message}" if field else message)
    return "; ".join(texts)
