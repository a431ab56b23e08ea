"""A translated page has the commands of the English one, in the same order."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.pages import ROOT, links

PAGES = ("README.md", "docs/quickstart.md")


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return (language, lines) of each code block that names a language, without comments, which are translated."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [(language, [re.sub(r"\s+# .*", "", line) for line in block.splitlines()]) for language, block in blocks]


def inline_commands(text: str) -> set[str]:
    return set(re.findall(r"`((?:\.venv/bin/)?(?:imagefarm|pip) [^`\n]+)`", text))


@pytest.mark.parametrize("page", PAGES)
def test_commands_equal_those_of_the_english_page(page: str) -> None:
    english = (ROOT / page).read_text(encoding="utf-8")
    chinese = (ROOT / page.replace(".md", ".zh-CN.md")).read_text(encoding="utf-8")
    assert len(commands(english)) > 3
    assert commands(chinese) == commands(english)
    assert inline_commands(chinese) == inline_commands(english)


@pytest.mark.parametrize("page", PAGES)
def test_both_pages_link_to_each_other_at_their_head(page: str) -> None:
    name = page.rpartition("/")[2]
    translated = name.replace(".md", ".zh-CN.md")
    for path, other in ((page, translated), (page.replace(".md", ".zh-CN.md"), name)):
        head = "".join((ROOT / path).read_text(encoding="utf-8").splitlines(keepends=True)[:5])
        assert other in links(head)


def test_both_readmes_list_the_same_pages() -> None:
    english, chinese = (
        {
            link
            for link in links((ROOT / name).read_text(encoding="utf-8"))
            if link.startswith("docs/") and "images" not in link
        }
        for name in ("README.md", "README.zh-CN.md")
    )
    translated = {page.replace(".md", ".zh-CN.md"): page for page in PAGES}
    assert {translated.get(link, link) for link in chinese} - {"docs/README.md"} == english - {"docs/README.md"}
