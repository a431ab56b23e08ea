"""Child processes import this package and nothing from the current directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from core.child_python import child_environment, module_command
from tests.servers.farm import ROOT


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change into a directory with foreign packages of our names."""
    for name in ("core", "api", "cli", "worker", "db"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported from the current directory')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False, timeout=300)


def test_a_child_imports_nothing_from_the_current_directory(planted: Path) -> None:
    done = run(*module_command("cli", "--help"))
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_grandchildren_are_protected_too(planted: Path) -> None:
    code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import core, api.problems']))"
    done = run(*module_command("cli", "--help")[:1], "-c", code)
    assert done.returncode == 0, done.stderr


def test_an_empty_entry_of_pythonpath_does_not_add_the_current_directory(
    planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}/elsewhere")
    paths = child_environment()["PYTHONPATH"].split(os.pathsep)
    assert paths == [str(ROOT), "/elsewhere"]
    assert run(*module_command("cli", "--help")).returncode == 0
