"""Texts of the page: every language has every text, and no module asks for one that does not exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import web

ROOT = Path(web.__file__).parent
LANGUAGES = sorted((ROOT / "js" / "text").glob("*.js"))
_ROW = re.compile(r"^(\"[^\"]+\"): (\".*\"),$", re.MULTILINE)
_VALUE = re.compile(r"\{(\w+)\}")


def texts_of(path: Path) -> dict[str, str]:
    return {json.loads(key): json.loads(text) for key, text in _ROW.findall(path.read_text(encoding="utf-8"))}


ENGLISH = texts_of(ROOT / "js" / "text" / "en.js")


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_every_language_has_the_same_texts_with_the_same_values(path: Path) -> None:
    texts = texts_of(path)
    assert len(texts) > 300
    assert texts.keys() == ENGLISH.keys()
    assert len(_ROW.findall(path.read_text(encoding="utf-8"))) == len(texts), "a key is there twice"
    for key, text in texts.items():
        assert text.strip(), key
        wanted = set(_VALUE.findall(ENGLISH[key]))
        assert set(_VALUE.findall(text)) <= wanted | {"n"}, key
        assert text.count("`") == ENGLISH[key].count("`"), key


def test_the_page_offers_every_language() -> None:
    offered = re.search(r"LANGUAGES = \{(.*?)\}", (ROOT / "js" / "text.js").read_text(encoding="utf-8"))
    assert offered is not None
    assert sorted(re.findall(r"(\w+):", offered[1])) == [path.stem for path in LANGUAGES]


def test_every_text_that_the_page_asks_for_exists() -> None:
    asked: set[str] = set()
    for path in ROOT.rglob("*.js"):
        if "vendor" not in path.parts:
            asked.update(re.findall(r"\bt\(\"([\w.-]+)\"", path.read_text(encoding="utf-8")))
    asked.update(re.findall(r'data-(?:text|label)="([^"]+)"', (ROOT / "index.html").read_text(encoding="utf-8")))
    assert asked - ENGLISH.keys() == set()
    assert len(asked) > 200


def test_chinese_texts_are_chinese() -> None:
    chinese = texts_of(ROOT / "js" / "text" / "zh.js")
    latin = {key for key, text in chinese.items() if not re.search(r"[\u4e00-\u9fff]", text)}
    assert latin <= {"fact.loras"}
