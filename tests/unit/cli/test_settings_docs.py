"""docs/reference/settings.md is generated from the settings."""

from __future__ import annotations

from cli.settings_docs import render
from core.settings import Settings
from tests.servers.farm import ROOT


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "reference" / "settings.md").read_text() == render(), (
        "run: python -m cli settings-docs > docs/reference/settings.md"
    )


def test_every_setting_has_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"`IMAGEFARM_{name.upper()}`" in render()
