"""The words that docs/style.md rejects stay out of code, tests, documents and web files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs.pages import ROOT

STYLE = ROOT / "docs" / "style.md"
CHANGELOG = ROOT / "CHANGELOG.md"
VENDOR = ROOT / "web" / "vendor"
"""Files from elsewhere, kept as they are."""
FOLDERS = (
    ".ci",
    ".github",
    "api",
    "app",
    "benchmarks",
    "cli",
    "core",
    "db",
    "deploy",
    "docs",
    "imagefarm",
    "migrations",
    "scripts",
    "supervisor",
    "tests",
    "web",
    "worker",
)
SUFFIXES = {".css", ".html", ".js", ".mako", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
FOREIGN_NAMES = ("torch.compiler.set_stance",)
"""Names of other projects that hold a rejected word."""
WITHOUT_SUFFIX = {"Dockerfile", "Makefile", "run"}
GAP = r"(?:\s|#|//|\*|_)+"
"""Separates the words of a phrase: a space, a line break in a comment, an underscore in a name."""


def rejected_words() -> list[str]:
    section = STYLE.read_text(encoding="utf-8").split("\n## Words not to use\n", 1)[1]
    return re.findall(r"^\| ([a-z ]+?) \|", section.split("|---|---|", 1)[1], re.MULTILINE)


def pattern(words: list[str]) -> re.Pattern[str]:
    """Return a pattern of whole words; an underscore, a digit and the hump of a CamelCase name end a word."""
    phrases = "|".join(GAP.join(map(re.escape, phrase.split())) for phrase in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z])(?:{phrases})(?![A-Za-z])", re.IGNORECASE)


def files(folder: str) -> Iterator[Path]:
    paths = (ROOT / folder).rglob("*") if folder else ROOT.glob("*")
    for path in sorted(paths):
        if VENDOR in path.parents:
            continue
        if path.is_file() and (path.suffix in SUFFIXES or path.name in WITHOUT_SUFFIX) and path != STYLE:
            yield path


def text_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return re.split(r"^## \d", text, maxsplit=1, flags=re.MULTILINE)[0] if path == CHANGELOG else text


def hits(text: str, rejected: re.Pattern[str]) -> list[tuple[int, str]]:
    """Return (line, words) of every rejected phrase."""
    for name in FOREIGN_NAMES:
        text = text.replace(name, "_" * len(name))
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text)
    return [(split.count("\n", 0, found.start()) + 1, found.group()) for found in rejected.finditer(split)]


def test_the_list_is_read() -> None:
    words = rejected_words()
    assert len(words) >= 28
    assert words == sorted(words)
    assert all(not re.search(rf"\b{word}\b", "plain words") for word in words)


@pytest.mark.parametrize("split", ["{0} {1}", "{0}\n    # {1}", "{0}_{1}", "{0} {1}S", "in{0} {1}"])
def test_phrases_are_found_whole_and_over_line_breaks(split: str) -> None:
    first, second = next(word for word in rejected_words() if word.count(" ") == 1).split()
    expected = 0 if split.endswith("S") or split.startswith("in") else 1
    assert len(hits(split.format(first, second.upper()), pattern([f"{first} {second}"]))) == expected


def test_parts_of_names_are_found() -> None:
    word = rejected_words()[0]
    rejected = pattern([word])
    assert hits(f"x = Open{word.title()}Folder", rejected) == [(1, word.title())]
    assert hits(f"{word.upper()}_SECONDS = 1", rejected) == [(1, word.upper())]
    assert hits(f"{word}ination", rejected) == []


@pytest.mark.parametrize("folder", ["", *FOLDERS])
def test_rejected_words_do_not_occur(folder: str) -> None:
    rejected = pattern(rejected_words())
    found = [
        f"{path.relative_to(ROOT)}:{line}: {words!r}"
        for path in files(folder)
        for line, words in hits(text_of(path), rejected)
    ]
    assert not found, "use other words (docs/style.md):\n" + "\n".join(found)
