"""Links between documents resolve, and files that documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.pages import PAGES, ROOT, anchors, links, page_id

ARCHITECTURE = ROOT / "docs" / "architecture.md"
TESTS_COLUMN = "tests"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_resolve(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_tables_begin_with_a_head(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for first, second in re.findall(r"(?:\A|\n\n)(\|.*)\n(.*)", text):
        assert re.fullmatch(r"\|[\s:|-]+\|", second), first


def test_every_document_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in links(index.read_text(encoding="utf-8"))}
    documents = {page for page in (ROOT / "docs").rglob("*.md") if page != index}
    assert {page for page in documents if page not in linked and page.parent not in linked} == set()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_a_document_names_exist(page: Path) -> None:
    packages = {path.name for path in ROOT.iterdir() if path.is_dir()}
    for name in re.findall(r"`([\w./-]+(?:\.(?:py|toml|sh|md|yaml|yml|js)|/))(?=[` ])", page.read_text(encoding="utf-8")):
        first, slash, _ = name.partition("/")
        if slash and first in packages and first != "data":
            assert (ROOT / name).exists(), name


def feature_rows() -> dict[str, dict[str, list[str]]]:
    """Return the feature table as feature -> column -> paths."""
    table = [line for line in ARCHITECTURE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    start = next(number for number, line in enumerate(table) if line.startswith("| feature |"))
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[start:]]
    return {row[0]: {name: re.findall(r"`([^`]+)`", cell) for name, cell in zip(head, row, strict=True)} for row in rows}


def test_files_of_the_feature_table_exist() -> None:
    rows = feature_rows()
    assert len(rows) > 20
    for feature, columns in rows.items():
        assert columns[TESTS_COLUMN], feature
        for column, paths in columns.items():
            for path in paths:
                assert (ROOT / ("tests" if column == TESTS_COLUMN else "") / path).exists(), f"{feature}: {path}"


def test_commands_of_the_benchmarks_exist() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    modules = set(re.findall(r"`python -m ([\w.]+)", page))
    assert len(modules) > 5
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
