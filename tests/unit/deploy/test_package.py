"""The built package holds every file of its packages, and its command line works outside the checkout."""

from __future__ import annotations

import re
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


def test_every_file_of_every_package_is_installed(installed: Path) -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for package in packages:
        files = [path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert not [path for path in files if not (installed / path.relative_to(ROOT)).exists()]


def test_commands_work_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
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


def test_the_metadata_has_a_small_base_extras_and_no_development_tools(installed: Path) -> None:
    metadata = next(installed.glob("imagefarm-*.dist-info/METADATA")).read_text()
    base = {line.split()[1] for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line}
    names = {re.split(r"[^a-z-]", requirement)[0] for requirement in base}
    assert names == {"httpx", "httpx-sse", "pillow", "pydantic", "pydantic-settings", "rich", "typer"}
    extras = {"server", "worker", "mcp", "tracing", "s3", "all"}
    assert set(re.findall(r"^Provides-Extra: (\w+)", metadata, re.MULTILINE)) == extras
    assert "Classifier: Private :: Do Not Upload" in metadata
    assert "pytest" not in metadata.partition("\n\n")[0]


def test_the_client_is_typed(installed: Path) -> None:
    code = "from imagefarm import *; import imagefarm; assert set(imagefarm.__all__) <= set(dir()), dir()"
    environment = clean_environment() | {"PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-P", "-W", "error", "-c", code], cwd=installed, env=environment, check=True)


def test_every_package_that_a_program_imports_is_marked_as_typed(installed: Path) -> None:
    """Without the mark, a type checker takes what comes from a package as Any, also the jobs that the client returns."""
    code = (
        "import sys, imagefarm, app.core.generator;"
        "files = {name: getattr(module, '__file__', None) for name, module in sys.modules.items() if '.' not in name};"
        "print(*(name for name, file in files.items() if file and file.startswith(sys.argv[1])))"
    )
    environment = clean_environment() | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-c", code, str(installed)]
    imported = subprocess.run(command, cwd=installed, env=environment, check=True, capture_output=True, text=True).stdout
    assert {"app", "core", "imagefarm"} <= set(imported.split())
    assert [name for name in imported.split() if not (installed / name / "py.typed").exists()] == []
