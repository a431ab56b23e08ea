"""Texts of the page: every language has every text, and no module asks for one that does not exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import web
from core.retries import RULES

ROOT = Path(web.__file__).parent
LANGUAGES = sorted((ROOT / "js" / "text").glob("*.js"))
_ROW = re.compile(r'^"?([\w.-]+)"?: (?:(".*"),|\{)$|^\},$', re.MULTILINE)
_VALUE = re.compile(r"\{(\w+)\}")
_SAID = re.compile(r'^\[/(.*)/g?, (".*")\],$', re.MULTILINE)
_CODE = re.compile(r'^(\w+): (".*"),$', re.MULTILINE)


def rows_of(path: Path) -> list[tuple[str, str]]:
    """Return key and text of each row, also of a key that is there twice."""
    found, group = [], ""
    for row in _ROW.finditer(path.read_text(encoding="utf-8").partition("\n};")[0]):
        name, text = row.groups()
        if text is None:
            group = name or ""  # a group starts or ends
        else:
            key = group if name == "_" else group + name if name.startswith("_") else f"{group}.{name}"
            found.append((key if group else name, json.loads(text)))
    return found


def texts_of(path: Path) -> dict[str, str]:
    return dict(rows_of(path))


ENGLISH = texts_of(ROOT / "js" / "text" / "en.js")


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_every_language_has_the_same_texts_with_the_same_values(path: Path) -> None:
    texts = texts_of(path)
    assert len(texts) > 300
    singular = {key for key in ENGLISH if key.endswith("_one")}  # a language without a form of its own leaves it out
    assert texts.keys() | singular == ENGLISH.keys()
    assert len(rows_of(path)) == len(texts), "a key is there twice"
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


SOURCES = [
    path
    for package in ("api", "core", "db", "worker")
    for path in Path(web.__file__).parents[1].joinpath(package).rglob("*")
    if path.suffix in (".py", ".toml")
]
MADE = {"job_gone", "image_gone", "upload_gone", "submits_limit", "pixels_limit"}  # f"{kind}_gone", f"{kind}_limit"
# What brings codes that the page never meets: other APIs, webhooks, styles and wildcards as files, commands, new machines.
ELSEWHERE = {
    "background_not_offered", "client_left", "image_url_not_fetched", "interrupted", "invalid_prompt",
    "mask_without_alpha", "no_file", "not_acceptable", "prompt_id_in_use", "too_many_parts", "variations_not_offered",
    "delivery_not_found", "invalid_webhook_url", "private_webhook_target", "too_many_webhooks", "webhook_deleted",
    "webhook_not_found", "style_built_in", "styles_invalid", "too_many_wildcards", "wildcard_invalid",
    "wildcard_name", "backup_failed", "exposed_without_keys", "extra_missing", "idempotency_mismatch",
    "metadata_too_long", "no_database", "no_preview", "not_installed", "secret_key_changed", "unknown_preset",
    "unreadable_file", "worker_name_taken", "join_not_possible", "join_token_invalid", "node_not_found",
    "version_mismatch",
}  # fmt: skip


def chinese_codes() -> set[str]:
    """Return the codes with a text of their own, and those that are made of a name, such as `style_not_found`."""
    text = (ROOT / "js" / "text" / "zh.js").read_text(encoding="utf-8").partition("CODES = {")[2]
    own, _, rest = text.partition("\n};")
    made = re.findall(r"`(\w*)\$\{name\}(\w*)`", rest)
    names = re.findall(r'(\w+): "', rest.partition("NAMES = {")[2].partition("}")[0])
    assert len(made) == 4, "the forms of names are read from the file"
    return {code for code, _ in _CODE.findall(own)} | {f"{before}{name}{after}" for before, after in made for name in names}


def test_known_sentences_are_those_of_the_farm() -> None:
    """A sentence that the farm says in other words now would stay English without notice."""
    source = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    joined = re.sub(r'"\s*\n\s*f?[\'"]', "", source)  # literals that go on in the next line
    rows = _SAID.findall((ROOT / "js" / "text" / "zh.js").read_text(encoding="utf-8"))
    assert len(rows) > 50
    for pattern, _ in rows:
        literal = re.sub(r"\((?:[^()\\]|\\.)*\)|\[[^\]]*\][*+?]*|\.[*+]\??|\\[SdwB][+*?]*|\\b|\^|\$| \?|\.\?", "\0", pattern)
        for part in literal.split("\0"):
            words = re.sub(r"\\(.)", r"\1", part).strip("`' ")
            assert len(words) < 6 or words in joined, (pattern, words)


def test_codes_are_those_of_the_farm() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in SOURCES if path.suffix == ".py")
    text = (ROOT / "js" / "text" / "zh.js").read_text(encoding="utf-8")
    own = {code for code, _ in _CODE.findall(text.partition("CODES = {")[2].partition("\n};")[0])}
    assert len(own) > 50
    assert {code for code in own if f'"{code}"' not in source} <= MADE


def test_every_code_that_the_page_may_meet_has_a_text() -> None:
    """English is the farm's own message, which every code has. The others are left out by name, so a new one is noticed."""
    used = set(RULES)
    for path in SOURCES:
        if path.suffix == ".py":
            used.update(re.findall(r'\bcode(?:: str)? ?= ?"([a-z_]+)"', path.read_text(encoding="utf-8")))
    assert used - chinese_codes() == ELSEWHERE
