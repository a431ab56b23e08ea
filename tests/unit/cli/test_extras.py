"""A command that needs an extra names it; commands about jobs need none."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from cli.exit_codes import ExitCode, exit_code_for
from cli.main import app
from core import extras
from core.extras import EXTRAS, MissingExtra, require_extras
from tests.servers.farm import ROOT
from tests.unit.cli.test_main import commands

BASE: set[tuple[str, ...]] = {
    (name,) for name in ("submit", "batch", "upscale", "jobs", "job", "cancel", "retry", "export", "watch", "top")
}
BASE |= {("loras", "list"), ("models", "add"), ("models", "remove"), ("models", "inspect"), ("models", "files")}
BASE |= {("loras", "list"), ("refine",), ("lineage",)}
BASE |= {("compare",), ("rate",)}
BASE |= {("styles", name) for name in ("list", "add", "change", "remove", "import", "export")}
BASE |= {("parameters",), ("rerun",)}
BASE |= {("nodes", name) for name in ("list", "drain", "resume", "remove")}
BASE |= {("workers", name) for name in ("list", "pause", "resume", "drain")}
BASE |= {("bench", "scenes"), ("storage", "migrate")}
DOCS = {("settings-docs",), ("cli-docs",)}
NEEDED = {
    ("up",): "all",
    ("doctor",): "all",
    ("models", "list"): "worker",
    ("models", "pull"): "worker",
    ("models", "verify"): "worker",
    ("models", "remove-weights"): "worker",
    ("model-manager",): "worker",
    ("mcp",): "mcp",
    ("worker",): "worker",
    ("api",): "server",
    ("reaper",): "server",
    ("join-command",): "server",
    ("join",): "worker",
    ("flower",): "server",
    ("prune",): "server",
    ("backup",): "server",
    ("restore",): "server",
    ("db", "upgrade"): "server",
    ("db", "check"): "server",
    ("keys", "create"): "server",
    ("keys", "list"): "server",
    ("keys", "revoke"): "server",
}
ARGUMENTS = {
    ("models", "pull"): ["demo"],
    ("models", "verify"): ["demo"],
    ("models", "remove-weights"): ["demo"],
    ("keys", "create"): ["x"],
    ("keys", "revoke"): ["x"],
    ("prune",): ["--orphans"],
    ("backup",): ["x"],
    ("restore",): ["x"],
}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)


def test_every_command_is_classified() -> None:
    assert set(commands()) == BASE | DOCS | set(NEEDED)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("words", sorted(NEEDED), ids=" ".join)
def test_a_command_without_its_extra_names_it(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, *ARGUMENTS.get(words, [])])
    assert isinstance(result.exception, MissingExtra), result.output
    assert f"run `pip install '.[{NEEDED[words]}]'` in a checkout of imagefarm." in result.exception.message
    assert exit_code_for(result.exception) == ExitCode.EXTRA_MISSING


def test_a_farm_without_workers_needs_only_the_server_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.supervisor.Supervisor.run", lambda self: True)
    monkeypatch.setattr(extras, "is_installed", lambda extra: extra == "server")
    assert CliRunner().invoke(app, ["up", "--workers", "0"]).exception is None
    result = CliRunner().invoke(app, ["up"])
    assert isinstance(result.exception, MissingExtra)
    assert "needs the worker part: run `pip install '.[worker]'` in a checkout of imagefarm." in result.exception.message


def test_doctor_checks_the_installed_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.doctor.is_installed", lambda extra: extra == "server")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    names = {check["name"] for check in json.loads(result.output)}
    assert "redis" in names and "libraries" not in names


@pytest.mark.usefixtures("bare")
def test_doctor_names_the_parts_that_it_checks() -> None:
    error = CliRunner().invoke(app, ["doctor"]).exception
    assert (
        isinstance(error, MissingExtra) and "needs the server and worker parts: run `pip install '.[all]'`" in error.message
    )


def test_one_missing_part_is_named() -> None:
    require_extras("server", "worker")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extras, "is_installed", lambda extra: extra == "server")
        with pytest.raises(MissingExtra, match="Rendering needs the worker part"):
            require_extras("server", "worker", purpose="Rendering")


PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def required(requirements: list[str], seen: set[str]) -> Iterator[str]:
    """Yield the names of all distributions that these requirements install, read from the installed metadata."""
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        environments = [{"extra": extra} for extra in (requirement.extras or {""})]
        if key in seen or (requirement.marker and not any(requirement.marker.evaluate(each) for each in environments)):
            continue
        seen.add(key)
        yield name
        for inner in importlib.metadata.requires(name) or []:
            marker = Requirement(inner).marker
            if marker is None or any(marker.evaluate(each) for each in [{"extra": ""}, *environments]):
                yield from required([inner.partition(";")[0]], seen)


def test_the_server_part_brings_no_torch() -> None:
    server = set(required(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["server"], set()))
    assert "sqlalchemy" in server and "tornado" in server
    assert not server & {"torch", "diffusers", "transformers", "accelerate", "numpy"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_come_from_its_requirements(extra: str) -> None:
    distributions = importlib.metadata.packages_distributions()
    named = {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"][extra]}
    assert all(named & {canonicalize_name(name) for name in distributions[module]} for module in EXTRAS[extra])


def test_the_base_install_covers_everything_that_client_and_job_commands_import() -> None:
    base = set(required(PROJECT["dependencies"], set()))
    assert not base & {"sqlalchemy", "celery", "torch", "fastapi", "redis"}
    code = (
        "import sys, pkgutil, importlib, imagefarm, core, cli.main, cli.jobs, app.core.generator\n"
        "cli.main.full_app()\n"
        "for package in (imagefarm, core, cli.jobs):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        module.name == 'imagefarm.celery' or importlib.import_module(module.name)\n"  # Celery's command loads it
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    imported = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    distributions = importlib.metadata.packages_distributions()
    foreign = {name for name in imported.split() if name in distributions and name not in sys.stdlib_module_names}
    foreign -= {path.name for path in ROOT.iterdir()}
    foreign -= {"_distutils_hack", "click"}  # httpx imports click only where it is installed
    missing = {name for name in foreign if not base & {canonicalize_name(each) for each in distributions[name]}}
    assert not missing


def test_no_message_or_page_installs_imagefarm_from_an_index() -> None:
    """The package is on none: what is named there could be anyone's."""
    folders = ("api", "cli", "core", "db", "docs", "imagefarm", "storage", "supervisor", "worker")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".sh")]
    read = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in [*files, *ROOT.glob("README*.md")]}
    assert len(read) > 300
    assert [str(path) for path, text in read.items() if re.search(r"pip install ['\"]?imagefarm\b", text)] == []


def test_missing_parts_are_listed_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.extras.is_installed", lambda extra: extra == "mcp")
    for wanted, listed in ((["s3"], "the s3 part:"), (["server", "s3"], "the server and s3 parts:")):
        with pytest.raises(MissingExtra, match=listed):
            require_extras(*wanted)
    with pytest.raises(MissingExtra, match="needs the server, worker and s3 parts: run"):
        require_extras(*EXTRAS)
