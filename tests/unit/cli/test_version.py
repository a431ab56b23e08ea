"""`imagefarm --version` names the installed version."""

from __future__ import annotations

from typer.testing import CliRunner

from cli.main import app
from core.version import VERSION


def test_the_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"imagefarm {VERSION}\n")
