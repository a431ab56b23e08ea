"""What an installation without the checkout holds: every room with its data files, and a working command line."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.servers.farm import ROOT, clean_environment


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(target), str(ROOT)], check=True)
    return target


def test_every_room_and_its_files_are_there(installed: Path) -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for package in packages:
        files = [path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert not [path for path in files if not (installed / path.relative_to(ROOT)).exists()]


def test_it_works_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    environment = clean_environment() | {"PYTHONPATH": str(installed)}
    for words in (["db", "upgrade"], ["db", "check"], ["models", "list"]):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cli", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == ExitCode.OK, done.stderr
    assert (tmp_path / "data" / "imagefarm.db").exists()
