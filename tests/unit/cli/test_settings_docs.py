"""docs/reference/settings.md says what the settings are."""

from __future__ import annotations

from cli.settings_docs import render
from core.settings import Settings
from tests.servers.farm import ROOT


def test_page_is_up_to_date() -> None:
    page = ROOT / "docs" / "reference" / "settings.md"
    assert page.read_text() == render(), "run: python -m cli settings-docs > docs/reference/settings.md"


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"`IMAGEFARM_{name.upper()}`" in render()
