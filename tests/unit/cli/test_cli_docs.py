"""docs/reference/cli.md says what the commands say."""

from __future__ import annotations

from cli.cli_docs import render
from tests.servers.farm import ROOT
from tests.unit.cli.test_main import commands


def test_page_is_up_to_date() -> None:
    page = ROOT / "docs" / "reference" / "cli.md"
    assert page.read_text() == render(), "run: python -m cli cli-docs > docs/reference/cli.md"


def test_every_command_is_on_it_with_every_option() -> None:
    page = render()
    shown = [words for words in commands() if words[-1] not in ("settings-docs", "cli-docs")]
    assert len(shown) > 15
    for words in shown:
        assert f"\n## imagefarm {' '.join(words)}\n" in page
    for option in ("`--save` SAVE", "`--number`, `-n` NUMBER", "`--by-day`", "`ID...`"):
        assert option in page
