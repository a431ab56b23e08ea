"""scripts/start_app.sh on a stand-in project without dependencies, so that installing needs no network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.farm import ROOT

BACKEND = '''
"""A build backend that only installs in place."""
import pathlib, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    pathlib.Path("builds.txt").open("a").write("built\\n")
    name = "standin-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("standin.pth", str(pathlib.Path.cwd()))
        wheel.writestr("standin-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: standin\\nVersion: 1\\n")
        wheel.writestr("standin-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("standin-1.dist-info/RECORD", "")
    return name
'''
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "standin"
version = "1"
"""
CLI = "import os, sys; print('ran', *sys.argv[1:], 'in', os.getcwd())"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "my farm é"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    files = {"pyproject.toml": PYPROJECT, "constraints.txt": "", "backend.py": BACKEND, "cli/__main__.py": CLI}
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


def start(project: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.Popen(
        ["bash", str(project / "scripts" / "start_app.sh"), *options],
        cwd="/",
        env=inherited | {"PIP_NO_INDEX": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def builds(project: Path) -> int:
    return len((project / "builds.txt").read_text().splitlines())


def test_two_first_starts_at_once_install_once_and_both_run(project: Path) -> None:
    starts = [start(project, "--port", "1"), start(project, "--port", "2")]
    outputs = [finish(process) for process in starts]
    for number, output in enumerate(outputs, 1):
        assert f"ran up --port {number} in {project}" in output
    assert builds(project) == 1

    again = finish(start(project))
    assert again == f"ran up in {project}\n", "a start that has nothing to do says nothing"
    assert builds(project) == 1

    (project / "constraints.txt").write_text("# changed\n")
    assert "installing" in finish(start(project))
    assert builds(project) == 2

    (project / ".venv" / "bin" / "python").unlink()  # as when the Python it was made with is removed
    assert "making" in finish(start(project))


def test_half_made_environment_is_made_again(project: Path) -> None:
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (project / ".venv" / "bin" / "python").chmod(0o755)
    assert f"ran up in {project}" in finish(start(project))


def test_old_python_is_said(project: Path, tmp_path: Path) -> None:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
        (stubs / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
        (stubs / name).chmod(0o755)
    process = start(project, PATH=f"{stubs}:{os.environ['PATH']}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "needs Python 3.11 or newer, and found none (python3 is Python 3.9.2)" in output
    assert "IMAGEFARM_PYTHON" in output


def test_failed_installation_is_said_and_tried_again(project: Path) -> None:
    (project / "pyproject.toml").write_text(PYPROJECT.replace('"backend"', '"missing"'))
    process = start(project)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "the dependencies could not be installed" in output
    assert 'bootstrap.py", line' not in output
    (project / "pyproject.toml").write_text(PYPROJECT)
    assert "ran up" in finish(start(project))
