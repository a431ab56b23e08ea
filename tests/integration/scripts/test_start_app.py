"""scripts/start_app.sh on a stub project without dependencies, so that the installation needs no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
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
    return make_project(tmp_path)


def make_project(folder: Path) -> Path:
    root = folder / "my farm é"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    files = {"pyproject.toml": PYPROJECT, "constraints.txt": "", "backend.py": BACKEND, "cli/__main__.py": CLI}
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@dataclass(frozen=True)
class Installed:
    """A project in which two simultaneous starts have installed, with what they printed. A new environment takes 6 s."""

    project: Path
    outputs: list[str]
    builds: int


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    project = make_project(tmp_path_factory.mktemp("first"))
    starts = [start(project, "--port", "1"), start(project, "--port", "2")]
    outputs = [finish(process) for process in starts]
    return Installed(project, outputs, builds(project))


@pytest.fixture
def installed(first: Installed) -> Iterator[Path]:
    """Provide that project as it was installed; what a test changes in its files is undone."""
    yield first.project
    (first.project / "pyproject.toml").write_text(PYPROJECT)
    (first.project / "constraints.txt").write_text("")
    (first.project / ".env").unlink(missing_ok=True)


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
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    return output


def builds(project: Path) -> int:
    return len((project / "builds.txt").read_text().splitlines())


def test_two_simultaneous_starts_install_once_and_both_run(first: Installed) -> None:
    for number, output in enumerate(first.outputs, 1):
        assert f"ran up --port {number} in {first.project}" in output
    assert first.builds == 1


def test_a_start_with_nothing_to_install_prints_nothing(installed: Path) -> None:
    finish(start(installed))
    before = builds(installed)
    assert finish(start(installed)) == f"ran up in {installed}\n"
    outputs = [finish(start(installed, "outputs", **given)) for given in ({}, {"IMAGEFARM_OUTPUTS_DIR": ""})]
    (installed / ".env").write_text("IMAGEFARM_OUTPUTS_DIR=elsewhere\n")
    outputs.append(finish(start(installed, "outputs")))
    assert [output.split(" images ")[1] for output in outputs] == ["'outputs'\n", "''\n", "None\n"], "a choice is kept"
    assert builds(installed) == before
    (installed / "constraints.txt").write_text("# changed\n")
    assert "installing" in finish(start(installed))
    assert builds(installed) == before + 1


def test_an_incomplete_environment_is_created_again(project: Path) -> None:
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (project / ".venv" / "bin" / "python").chmod(0o755)
    output = finish(start(project))
    assert "creating" in output
    assert f"ran up in {project}" in output


def test_an_interpreter_that_was_removed_does_not_work(tmp_path: Path) -> None:
    """As after the removal of the Python that created the environment, whose interpreter is a link to it."""
    (tmp_path / "python").symlink_to(tmp_path / "removed")
    command = "import sys, pathlib, bootstrap; print([bootstrap.works(pathlib.Path(each)) for each in sys.argv[1:]])"
    words = [sys.executable, "-c", command, str(tmp_path / "python"), sys.executable]
    done = subprocess.run(words, cwd=ROOT / "scripts", capture_output=True, text=True, check=True)
    assert done.stdout == "[False, True]\n"


def test_a_python_that_is_too_old_is_an_error(project: Path, tmp_path: Path) -> None:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
        (stubs / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
        (stubs / name).chmod(0o755)
    process = start(project, PATH=f"{stubs}:{os.environ['PATH']}")
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 1
    assert "found no Python 3.11 or newer (python3 is Python 3.9.2)" in output
    assert "IMAGEFARM_PYTHON" in output


def test_a_failed_installation_is_an_error_and_can_be_retried(installed: Path) -> None:
    (installed / "pyproject.toml").write_text(PYPROJECT.replace('"backend"', '"missing"'))
    process = start(installed)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 1
    assert "could not install the dependencies" in output
    assert 'bootstrap.py", line' not in output
    (installed / "pyproject.toml").write_text(PYPROJECT)
    assert "ran up" in finish(start(installed))


def bootstrap(project: Path, *groups: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(project / "scripts" / "bootstrap.py"), *groups]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PIP_NO_INDEX"] = "1"
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)


def test_a_dependency_group_is_installed_in_the_same_call_to_pip(installed: Path) -> None:
    project = installed
    before = builds(project)
    tool = project / "tool"
    tool.mkdir()
    (tool / "backend.py").write_text(BACKEND.replace("build_editable", "build_wheel").replace("stub", "tool"))
    (tool / "pyproject.toml").write_text(PYPROJECT.replace("stub", "tool"))
    (project / "pyproject.toml").write_text(PYPROJECT + f'[dependency-groups]\ndev = ["tool @ {tool.as_uri()}"]\n')
    done = bootstrap(project, "dev")
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([project / ".venv" / "bin" / "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "stub" in listed and "tool" in listed
    assert builds(project) == before + 1
    assert "ran up" in finish(start(project)), "a start after a group was installed installs nothing"
    assert builds(project) == before + 1


def test_an_unknown_dependency_group_is_an_error(project: Path) -> None:
    done = bootstrap(project, "docs")
    assert done.returncode == 1
    assert "no dependency group 'docs'" in done.stderr
    assert not (project / ".venv").exists(), "it is known before anything is made"


@pytest.fixture
def project_with_uv(installed: Path) -> Iterator[Path]:
    """Provide the installed project with the uv of this environment, and a wheel to install in `wheels`."""
    uv = installed / ".venv" / "bin" / "uv"
    uv.symlink_to(ROOT / ".venv" / "bin" / "uv")
    wheels = installed / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "tool-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tool.py", "")
        wheel.writestr("tool-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1\n")
        wheel.writestr("tool-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tool-1.dist-info/RECORD", "tool.py,,\n")
    yield installed
    uv.unlink()
    shutil.rmtree(wheels)


def install_packages(project: Path, name: str, **options: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Install with these options of pip; return the end of that, and the name of the installer."""
    python = project / ".venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_"))}
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": (project / "wheels").as_uri(),
        **options,
    }
    command = [str(python), str(project / "scripts" / "packages.py"), str(python), "--force-reinstall", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    found = [each.read_text().strip() for each in project.glob(".venv/lib/*/site-packages/tool-1.dist-info/INSTALLER")]
    return done, found[0] if found else ""


def test_uv_installs_by_pips_configuration(project_with_uv: Path) -> None:
    done, installer = install_packages(project_with_uv, "tool")
    assert (done.returncode, installer) == (0, "uv"), done.stderr


def test_pip_installs_what_its_configuration_keeps_from_uv(project_with_uv: Path) -> None:
    done, installer = install_packages(project_with_uv, "tool", PIP_PROXY="http://127.0.0.1:9")
    assert (done.returncode, installer) == (0, "pip"), done.stderr


def test_pip_says_why_a_package_cannot_be_installed(project_with_uv: Path) -> None:
    done, _ = install_packages(project_with_uv, "no-such-tool")
    assert done.returncode == 1
    assert "uv could not install; trying pip" in done.stderr
    assert "No matching distribution found for no-such-tool" in done.stderr
