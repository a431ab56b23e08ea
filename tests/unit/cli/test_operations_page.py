"""docs/guides/operations.md and README.md name existing commands, settings, exit codes and files."""

from __future__ import annotations

import re

from typer.main import get_command

from cli.exit_codes import MEANINGS
from cli.main import app
from core.settings import Settings
from tests.servers.farm import ROOT

OPERATIONS = (ROOT / "docs" / "guides" / "operations.md").read_text()
README = (ROOT / "README.md").read_text()


def test_the_exit_codes_match_the_code() -> None:
    rows = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    assert f"| code | meaning |\n|---|---|\n{rows}\n" in OPERATIONS


def test_every_variable_is_a_setting() -> None:
    known = {f"IMAGEFARM_{field.upper()}" for field in Settings.model_fields} | {"IMAGEFARM_DEBUG"}
    assert set(re.findall(r"IMAGEFARM_[A-Z_]+", OPERATIONS + README)) <= known


def test_every_command_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    prose = OPERATIONS.partition("| code | meaning |")[0] + README  # the table repeats texts of the code
    named = set(re.findall(r"(?:`|bin/)imagefarm ([a-z-]+)", prose))
    assert {"up", "doctor"} <= named
    assert named <= set(commands)


def test_files_linked_from_the_readme_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
