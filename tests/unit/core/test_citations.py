"""Code cites only decisions that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DECISIONS = {path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
FOLDERS = (
    *("api", "app", "benchmarks", "cli", "core", "db", "deploy", "imagefarm", "migrations", "scripts", "storage"),
    *("supervisor", "tests", "web", "worker"),
)
SUFFIXES = {".py", ".js", ".css", ".html", ".toml", ".yaml", ".yml", ".sh"}
_FILE = re.compile(r"decisions/(\d[\w.-]*\.md)")
_NUMBER = re.compile(r"\bdecisions?[ /](\d+)(?![\w-]*\.md)", re.IGNORECASE)


def missing_citations(text: str) -> list[str]:
    """Return the cited file names and numbers that are not in docs/decisions."""
    numbers = {int(name.split("-")[0]) for name in DECISIONS}
    missing = [name for name in _FILE.findall(text) if name not in DECISIONS]
    return missing + [number for number in _NUMBER.findall(text) if int(number) not in numbers]


def test_every_cited_decision_exists() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    assert len(files) > 300
    missing = {str(path.relative_to(ROOT)): missing_citations(path.read_text(encoding="utf-8")) for path in files}
    missing.pop(str(Path(__file__).relative_to(ROOT)))
    assert {path: cited for path, cited in missing.items() if cited} == {}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("see decision 1 and docs/decisions/0001", []),
        ("see decision 9999", ["9999"]),
        ("see docs/decisions/9999", ["9999"]),
        ("see docs/decisions/0001-no-such-title.md", ["0001-no-such-title.md"]),
    ],
)
def test_wrong_citations_are_found(text: str, missing: list[str]) -> None:
    assert missing_citations(text) == missing
