"""Files of the web page: nothing from other hosts, nothing inline, nothing missing."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

import web
from tests.conftest import missing_tool

ROOT = Path(web.__file__).parent
MODULES = sorted(ROOT.glob("js/**/*.js"))
FILES = [ROOT / "index.html", *MODULES, *sorted(ROOT.glob("css/*.css"))]


class Elements(HTMLParser):
    """Parser that collects every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def elements() -> list[tuple[str, dict[str, str | None]]]:
    return Elements((ROOT / "index.html").read_text(encoding="utf-8")).found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_names_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('"http://www.w3.org/2000/svg"', "")  # a name, which nothing fetches
    assert re.findall(r"(?:https?:)?//[a-z0-9][a-z0-9.-]*\.[a-z]{2,}", text) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_creates_markup_or_code_from_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_import_names_an_existing_file(path: Path) -> None:
    for target in re.findall(r'(?:^import .* from |import\()"([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
        assert target.startswith("."), target
        assert (path.parent / target).is_file(), target


def test_nothing_is_inline(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    for tag, attributes in elements:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_the_policy_allows_only_this_farm(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    [policy] = [a["content"] or "" for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"


def test_every_file_that_the_page_names_exists(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    linked = {a.get("href") if tag == "link" else a.get("src") for tag, a in elements if tag in ("link", "script", "img")}
    named = {name for name in linked if name}
    assert {"css/tokens.css", "js/main.js", "img/mark.svg"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert {path.name for path in ROOT.glob("css/*.css")} == {Path(name).name for name in named if name.endswith(".css")}


def test_ids_are_unique_and_labels_name_fields(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [a.get("for") for tag, a in elements if tag == "label"]
    described = [name for _, a in elements for name in (a.get("aria-describedby") or "").split()]
    assert set(named) | set(described) <= set(ids)


def test_every_element_that_a_module_looks_up_exists(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    ids = {attributes.get("id") or "" for _, attributes in elements}
    for path in MODULES:
        ids.update(re.findall(r'(?:\bid: "|\bh\("[\w.-]+#)([\w-]+)', path.read_text(encoding="utf-8")))
    for path in MODULES:
        asked = set(re.findall(r'byId\("([\w-]+)"\)', path.read_text(encoding="utf-8")))
        assert asked <= ids, (path.name, asked - ids)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_parse(path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        if shutil.which("chromedriver") is None:
            missing_tool("Checking the page's scripts needs node, or the browser tests with chromium and chromedriver.")
        pytest.skip("node is not installed; the browser tests run every module")
    command = [node, "--input-type=module", "--check"]
    done = subprocess.run(command, input=path.read_text(encoding="utf-8"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
