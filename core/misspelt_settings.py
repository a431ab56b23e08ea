"""Find variables, and lines of .env, that look like settings and are none: they have no effect."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from core.settings import Settings

PREFIX = "IMAGEFARM_"
_READ_ELSEWHERE = frozenset({"DEBUG", "PYTHON", "HOME"})
"""Names that the command line and the scripts read."""
_OF_COMPOSE = frozenset({"BOX", "CONTROL_ADDRESS", "PRIVATE_ADDRESS", "SHARED_DIR"})
"""Names that the compose files in deploy/ read from the same .env."""
_LINE = re.compile(rf"^\s*(?:export\s+)?({PREFIX}\w+)\s*=", re.IGNORECASE | re.MULTILINE)


def misspelt_settings(directory: Path | None = None) -> list[str]:
    """Return a sentence for each name of the environment and of `.env` in the directory (default: the current one)."""
    file = (directory or Path()) / ".env"
    lines: list[str] = []
    with suppress(OSError, UnicodeDecodeError):  # settings report a file that cannot be read
        lines = _LINE.findall(file.read_text(encoding="utf-8-sig"))
    variables = (name for name in os.environ if name.upper().startswith(PREFIX))
    return [*_sentences(variables, "The variable"), *_sentences(lines, "In .env,")]


def _sentences(names: Iterable[str], where: str) -> list[str]:
    known = {*(field.upper() for field in Settings.model_fields), *_READ_ELSEWHERE, *_OF_COMPOSE}
    found = []
    for name in names:
        bare = name.upper().removeprefix(PREFIX)
        if bare in known:
            continue
        near = difflib.get_close_matches(bare, sorted(known - _OF_COMPOSE), n=1)
        hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
        found.append(f"{where} {name} is no setting and has no effect.{hint}")
    return found
