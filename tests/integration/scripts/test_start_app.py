"""scripts/start_app.sh on a stub project without dependencies, so that the installation needs no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.farm import ROOT

BACKEND = '''
"""A build backend that only installs in place."""
import pathlib, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    pathlib.Path("builds.txt").open("a").write("built\\n")
    name = "stub-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("stub.pth", str(pathlib.Path.cwd()))
        wheel.writestr("stub-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: stub\\nVersion: 1\\n")
        wheel.writestr("stub-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("stub-1.dist-info/RECORD", "")
    return name
'''
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "stub"
version = "1"
"""
CLI = """
import os, sys
images = ['images', repr(os.environ.get('IMAGEFARM_OUTPUTS_DIR'))] if 'outputs' in sys.argv else []
print('ran', *sys.argv[1:], 'in', os.getcwd(), *images)
"""


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


def test_two_simultaneous_starts_install_once_and_both_run(project: Path) -> None:
    starts = [start(project, "--port", "1"), start(project, "--port", "2")]
    outputs = [finish(process) for process in starts]
    for number, output in enumerate(outputs, 1):
        assert f"ran up --port {number} in {project}" in output
    assert builds(project) == 1

    again = finish(start(project))
    assert again == f"ran up in {project}\n", "a start with nothing to install prints nothing"
    assert builds(project) == 1

    outputs = [finish(start(project, "outputs", **given)) for given in ({}, {"IMAGEFARM_OUTPUTS_DIR": ""})]
    (project / ".env").write_text("IMAGEFARM_OUTPUTS_DIR=elsewhere\n")
    outputs.append(finish(start(project, "outputs")))
    assert [output.split(" images ")[1] for output in outputs] == ["'outputs'\n", "''\n", "None\n"], "a choice is kept"

    (project / "constraints.txt").write_text("# changed\n")
    assert "installing" in finish(start(project))
    assert builds(project) == 2

    (project / ".venv" / "bin" / "python").unlink()  # as after the removal of the Python that created it
    assert "creating" in finish(start(project))


def test_an_incomplete_environment_is_created_again(project: Path) -> None:
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (project / ".venv" / "bin" / "python").chmod(0o755)
    assert f"ran up in {project}" in finish(start(project))


def test_a_python_that_is_too_old_is_an_error(project: Path, tmp_path: Path) -> None:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
        (stubs / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
        (stubs / name).chmod(0o755)
    process = start(project, PATH=f"{stubs}:{os.environ['PATH']}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "found no Python 3.11 or newer (python3 is Python 3.9.2)" in output
    assert "IMAGEFARM_PYTHON" in output


def test_a_failed_installation_is_an_error_and_can_be_retried(project: Path) -> None:
    (project / "pyproject.toml").write_text(PYPROJECT.replace('"backend"', '"missing"'))
    process = start(project)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "could not install the dependencies" in output
    assert 'bootstrap.py", line' not in output
    (project / "pyproject.toml").write_text(PYPROJECT)
    assert "ran up" in finish(start(project))


def bootstrap(project: Path, *groups: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(project / "scripts" / "bootstrap.py"), *groups]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PIP_NO_INDEX"] = "1"
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)


def test_a_dependency_group_is_installed_in_the_same_call_to_pip(project: Path) -> None:
    tool = project / "tool"
    tool.mkdir()
    (tool / "backend.py").write_text(BACKEND.replace("build_editable", "build_wheel").replace("stub", "tool"))
    (tool / "pyproject.toml").write_text(PYPROJECT.replace("stub", "tool"))
    (project / "pyproject.toml").write_text(PYPROJECT + f'[dependency-groups]\ndev = ["tool @ {tool.as_uri()}"]\n')
    done = bootstrap(project, "dev")
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([project / ".venv" / "bin" / "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "stub" in listed and "tool" in listed
    assert builds(project) == 1
    assert "ran up" in finish(start(project)), "a start after a group was installed installs nothing"
    assert builds(project) == 1


def test_an_unknown_dependency_group_is_an_error(project: Path) -> None:
    done = bootstrap(project, "docs")
    assert done.returncode == 1
    assert "no dependency group 'docs'" in done.stderr
