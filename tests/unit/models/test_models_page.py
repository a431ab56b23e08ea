"""docs/reference/models.md names every model and every tier, with the defaults that the catalogue has."""

from __future__ import annotations

import re
from pathlib import Path

from core.catalogue import load_catalogue
from worker.memory.tiers import TIERS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "models.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> set[str]:
    """Return the names in the first column of the first table under a heading."""
    table = PAGE.split(heading, 1)[1].split("|---", 1)[1].split("\n\n", 1)[0]
    return set(re.findall(r"^\| `([\w.-]+)`", table, re.MULTILINE))


def test_every_model_is_on_the_page() -> None:
    assert first_cells("# Models") == {model.id for model in load_catalogue()}


def test_every_tier_is_on_the_page() -> None:
    assert first_cells("## Memory tiers") == {tier.name for tier in TIERS}


def test_defaults_on_the_page_match_the_catalogue() -> None:
    for model in load_catalogue():
        defaults = model.defaults
        guidance = "off" if defaults.guidance_scale == 1.0 else str(defaults.guidance_scale)
        cell = f"| {defaults.num_inference_steps}, {guidance}, {defaults.width} | {model.licence} |"
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{model.id}`"))
        assert row.endswith(cell)
