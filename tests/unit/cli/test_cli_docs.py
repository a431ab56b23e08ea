"""docs/reference/cli.md is generated from the commands."""

from __future__ import annotations

from typer.main import get_command

from cli.cli_docs import render
from cli.main import app
from tests.servers.farm import ROOT
from tests.unit.cli.test_main import commands


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "reference" / "cli.md").read_text() == render(get_command(app)), (
        "run: python -m cli cli-docs > docs/reference/cli.md"
    )


def test_the_page_has_every_command_with_every_option() -> None:
    page = render(get_command(app))
    shown = [words for words in commands() if words[-1] not in ("settings-docs", "cli-docs")]
    assert len(shown) > 15
    for words in shown:
        assert f"\n## imagefarm {' '.join(words)}\n" in page
    for option in ("`--save` SAVE", "`--number`, `-n` NUMBER", "`--by-day`", "`ID...`"):
        assert option in page
