"""Wildcards: text files with one value a line, which dynamic prompts choose from."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from core.errors import InvalidInput, NotFound, Unavailable
from core.schemas.base import storable

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_)){0,63}(?<!_)")
"""Names of files without `.txt`: no dot, separator or `__`, so that a name is never a path."""
REFERENCE = re.compile(r"__[~!@]?\s*([A-Za-z0-9*?/_-]+?)\s*(?:\([^)]{0,300}\))?__")
"""A wildcard in a text, `__name__`, or a pattern such as `color-*`. Names made of variables are checked when expanded."""
MAX_FILES, MAX_LINES, MAX_BYTES, MAX_LINE = 1000, 20_000, 1_000_000, 2000
_SUFFIX = ".txt"


@dataclass(frozen=True)
class Wildcard:
    """A wildcard's values in the order of its file."""

    name: str
    values: tuple[str, ...]


class WildcardLibrary:
    """The wildcards in a folder, read again when their files change. The folder need not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[tuple[int, int], Wildcard]] = {}

    def all(self) -> dict[str, Wildcard]:
        """Return name -> wildcard, sorted by name. Files with other names, and those that cannot be read, are left out."""
        found: dict[str, Wildcard] = {}
        for name, path in sorted(self._files()):
            with suppress(OSError, InvalidInput):
                found[name] = self._of_file(name, path)
        return found

    def text(self, name: str) -> str:
        """Return what a file holds. Raises NotFound `wildcard_not_found`."""
        return "".join(f"{value}\n" for value in self._existing(name).values)

    def write(self, name: str, text: str) -> bool:
        """Store a file; return whether it is new. Raises InvalidInput, or Unavailable when it cannot be written."""
        checked_name(name)
        wildcard = parse_wildcard(name, text)
        known = self.all()
        if name not in known and len(known) >= MAX_FILES:
            raise InvalidInput(f"There are {MAX_FILES} wildcards, the limit: delete some first.", code="too_many_wildcards")
        check_references(f"__{name}__", {**known, name: wildcard}, unknown=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self._folder, delete=False) as file:
                draft = Path(file.name)
                try:
                    file.write("".join(f"{value}\n" for value in wildcard.values))
                    file.flush()
                    draft.replace(self._folder / f"{name}{_SUFFIX}")
                finally:
                    draft.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(error) from error
        return name not in known

    def delete(self, name: str) -> None:
        """Delete a file. Raises NotFound, or Unavailable when it cannot be deleted."""
        self._existing(name)
        try:
            (self._folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(error) from error

    def _existing(self, name: str) -> Wildcard:
        found = self.all().get(name)
        if found is None:
            raise NotFound("There is no wildcard of this name; GET /v1/wildcards lists them.", code="wildcard_not_found")
        return found

    def _files(self) -> Iterator[tuple[str, Path]]:
        try:
            for path in self._folder.iterdir():
                if path.suffix == _SUFFIX and NAME.fullmatch(path.stem) and path.is_file():
                    yield path.stem, path
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unavailable(
                f"The wildcards cannot be read: {error.strerror or error}.", code="storage_unavailable"
            ) from error

    def _of_file(self, name: str, path: Path) -> Wildcard:
        status = path.stat()
        version = (status.st_mtime_ns, status.st_size)
        known = self._read.get(name)
        if known is None or known[0] != version:
            if status.st_size > MAX_BYTES:
                raise InvalidInput(f"{path.name} has more than {MAX_BYTES} bytes.")
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            known = self._read[name] = (version, parse_wildcard(name, text))
        return known[1]


def checked_name(name: str) -> str:
    """Return the name; raise InvalidInput `wildcard_name` for one that no wildcard may have."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            "A wildcard's name has 1 to 64 letters, digits, hyphens and single underscores, such as `warm-color`.",
            field="name",
            code="wildcard_name",
        )
    return name


def parse_wildcard(name: str, text: str) -> Wildcard:
    """Return the values of a file's text: one a line, without empty lines and comments (`#`). Raises InvalidInput."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    values = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not values:
        raise _invalid("has no values: write one a line")
    if len(values) > MAX_LINES or len(text) > MAX_BYTES:
        raise _invalid(f"is too large: at most {MAX_LINES} lines and {MAX_BYTES} characters are accepted")
    for number, value in enumerate(values, 1):
        if len(value) > MAX_LINE:
            raise _invalid(f"has a value of {len(value)} characters (number {number}): at most {MAX_LINE} are accepted")
        try:
            storable(value)
        except ValueError as error:
            raise _invalid(f"{error} (value {number})") from None
    return Wildcard(name, tuple(values))


def matching(pattern: str, wildcards: Mapping[str, Wildcard]) -> list[Wildcard]:
    """Return the wildcards that a reference means: the one of that name, or all that match a pattern."""
    if pattern in wildcards:
        return [wildcards[pattern]]
    return [wildcard for name, wildcard in wildcards.items() if fnmatchcase(name, pattern)]


def check_references(text: str, wildcards: Mapping[str, Wildcard], *, unknown: bool = True) -> None:
    """Raise InvalidInput for wildcards that refer to themselves, and if `unknown` for those that do not exist.

    Wildcards are followed into the values of others.
    """
    done: set[str] = set()

    def follow(text: str, path: tuple[str, ...]) -> None:
        for pattern in dict.fromkeys(REFERENCE.findall(text)):
            found = matching(pattern, wildcards)
            if not found and unknown:
                raise unknown_wildcard(pattern, wildcards, path)
            for wildcard in found:
                if wildcard.name in path:
                    loop = " -> ".join([*path[path.index(wildcard.name) :], wildcard.name])
                    raise InvalidInput(
                        f"Wildcards refer to themselves: {loop}. Change one of these files.",
                        field="prompt",
                        code="wildcard_loop",
                    )
                if wildcard.name not in done:
                    follow("\n".join(value for value in wildcard.values if "__" in value), (*path, wildcard.name))
                    done.add(wildcard.name)

    try:
        follow(text, ())
    except RecursionError:
        raise InvalidInput("Wildcards are nested too deeply.", field="prompt", code="wildcard_loop") from None


def unknown_wildcard(name: str, wildcards: Mapping[str, Wildcard], path: tuple[str, ...] = ()) -> InvalidInput:
    """Return the error for a wildcard that does not exist."""
    where = f", which `{path[-1]}` refers to" if path else ""
    shown = f"The wildcards are: {', '.join(list(wildcards)[:20])}{', ...' if len(wildcards) > 20 else ''}."
    none = f"There are none: put {name}.txt into the folder wildcards of the data directory (docs/guides/prompts.md)."
    return InvalidInput(
        f"There is no wildcard '{name}'{where}. {shown if wildcards else none}",
        field="prompt",
        code="unknown_wildcard",
    )


def _invalid(why: str) -> InvalidInput:
    return InvalidInput(f"The wildcard {why}.", field="text", code="wildcard_invalid")


def _unwritable(error: OSError) -> Unavailable:
    return Unavailable(f"The wildcard cannot be stored: {error.strerror or error}.", code="storage_unavailable")
