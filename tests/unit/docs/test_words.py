"""The words that docs/style.md rejects stay out of code, tests, documents and web files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.docs.pages import ROOT

STYLE = ROOT / "docs" / "style.md"
CHANGELOG = ROOT / "CHANGELOG.md"
VENDOR = ROOT / "web" / "vendor"
"""Files from elsewhere, kept as they are."""
COMMAND = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
FOREIGN_NAMES = ("torch.compiler.set_stance",)
"""Names of other projects that hold a rejected word."""
GAP = r"(?:\s|#|//|\*|_|-)+"
"""Separates the words of a phrase: a space, a line break in a comment, a hyphen, an underscore in a name."""


def rejected_words() -> list[str]:
    section = STYLE.read_text(encoding="utf-8").split("\n## Words not to use\n", 1)[1]
    return re.findall(r"^\| ([a-z ]+?) \|", section.split("|---|---|", 1)[1], re.MULTILINE)


def pattern(words: list[str]) -> re.Pattern[str]:
    """Return a pattern of whole words in lower case; an underscore and a digit end a word.

    Each alternative begins with a letter, and not with what must not stand before it: the search is ten times as fast.
    """
    phrases = (rf"{phrase[0]}(?<![a-z].){GAP.join(phrase[1:].split())}" for phrase in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?:{'|'.join(phrases)})(?![a-z])")


def texts() -> Iterator[tuple[str, str]]:
    """Yield name and text of every file of the project that holds text, whatever its type."""
    listed = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in sorted(filter(None, listed.split("\0"))):
        path = ROOT / name
        if VENDOR in path.parents or path == STYLE or not path.is_file():
            continue
        with suppress(UnicodeDecodeError):
            text = path.read_text(encoding="utf-8")
            yield name, re.split(r"^## \d", text, maxsplit=1, flags=re.MULTILINE)[0] if path == CHANGELOG else text


def hits(text: str, rejected: re.Pattern[str]) -> list[tuple[int, str]]:
    """Return (line, words) of every rejected phrase; the hump of a CamelCase name begins a word."""
    for name in FOREIGN_NAMES:
        text = text.replace(name, "_" * len(name))
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()
    return [(split.count("\n", 0, found.start()) + 1, found.group()) for found in rejected.finditer(split)]


def test_the_list_is_read() -> None:
    words = rejected_words()
    assert len(words) >= 28
    assert words == sorted(words)
    assert all(not re.search(rf"\b{word}\b", "plain words") for word in words)


@pytest.mark.parametrize("split", ["{0} {1}", "{0}\n    # {1}", "{0}_{1}", "{0}-{1}", "{0} {1}S", "in{0} {1}"])
def test_phrases_are_found_whole_and_over_line_breaks(split: str) -> None:
    first, second = next(word for word in rejected_words() if word.count(" ") == 1).split()
    expected = 0 if split.endswith("S") or split.startswith("in") else 1
    assert len(hits(split.format(first, second.upper()), pattern([f"{first} {second}"]))) == expected


def test_parts_of_names_are_found() -> None:
    word = rejected_words()[0]
    rejected = pattern([word])
    assert hits(f"x = Open{word.title()}Folder", rejected) == [(1, word)]
    assert hits(f"{word.upper()}_SECONDS = 1", rejected) == [(1, word)]
    assert hits(f"{word}ination", rejected) == []


def test_rejected_words_do_not_occur() -> None:
    rejected, read = pattern(rejected_words()), dict(texts())
    kinds = {Path(name).suffix for name in read} | {Path(name).parts[0] for name in read}
    assert {".py", ".md", ".js", ".json", ".service", ".txt", "Makefile", ".gitignore", "storage", "worker"} <= kinds
    found = [f"{name}:{line}: {words!r}" for name, text in read.items() for line, words in hits(text, rejected)]
    found += [f"{name}: {words!r}, in its name" for name in read for _, words in hits(name, rejected)]
    assert not found, "use other words (docs/style.md):\n" + "\n".join(found)
