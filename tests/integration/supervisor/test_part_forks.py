"""Parts that a supervisor forks: they are its children, end with it, and are otherwise like interpreters of their own."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cli.exit_codes import ExitCode
from tests.conftest import Migrate
from tests.servers.farm import ROOT, clean_environment

SUPERVISOR = """
import json, sys
from core.child_python import child_environment
from supervisor.child import Child, ChildSpec
from supervisor import part_forks
from supervisor.plan import command

part, given, fault = json.loads(sys.argv[1])
part_forks._PR_SET_CHILD_SUBREAPER = {"prctl refuses": 9999, "prctl does nothing": 38}.get(fault, 36)
with part_forks.forking_parts() as forks:
    if fault == "the process that forks ends":
        forks.close()
    spec = ChildSpec(part, command(part), given, part=part)
    say = lambda text: print(text, flush=True)
    child = Child(spec, lambda _, line: say(line), lambda child: say(child.how_it_ended()), forks=forks)
    print(child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def supervisor(part: str, *, fault: str = "", **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that starts the part, prints its pid, its output and its end, and ends with its own input."""
    command = [sys.executable, "-c", SUPERVISOR, json.dumps((part, settings, fault))]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment(), cwd=ROOT
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Return the next line with the text; fails at the end of the output."""
    while found := line(process):
        if text in found:
            return found
    raise AssertionError(f"no line with {text!r}")


@pytest.fixture
def servers(fresh_sqlite: str, redis_url: str, migrate: Migrate, tmp_path: Path) -> dict[str, str]:
    migrate(fresh_sqlite)
    urls = {"IMAGEFARM_DATABASE_URL": fresh_sqlite, "IMAGEFARM_REDIS_URL": redis_url}
    return {**urls, "IMAGEFARM_DATA_DIR": str(tmp_path / "data")}


def test_a_part_gets_its_settings_and_its_output_and_exit_code_are_read() -> None:
    with supervisor("api", IMAGEFARM_PORT="nonsense") as process:
        line(process)
        assert "IMAGEFARM_PORT is 'nonsense'" in line(process)
        line_with(process, f"ended with exit code {int(ExitCode.USAGE)}")


@pytest.mark.parametrize("fault", ["", "the process that forks ends", "prctl refuses", "prctl does nothing"])
def test_a_part_runs_until_it_is_stopped(fault: str, servers: dict[str, str]) -> None:
    """Also when it cannot be forked."""
    with supervisor("reaper", fault=fault, **servers) as process:
        part = psutil.Process(int(line(process)))
        line_with(process, "this reaper is new")
        assert part.ppid() == process.pid
        assert part.cmdline()[0] == (sys.executable if fault else "imagefarm reaper")
        assert not part.net_connections("unix"), "it has the supervisor's descriptors"
        part.terminate()
        line_with(process, "ended with exit code 0")


def test_a_part_ends_with_the_supervisor(servers: dict[str, str]) -> None:
    with supervisor("reaper", fault="", **servers) as process:
        part = psutil.Process(int(line(process)))
        line_with(process, "this reaper is new")
        process.send_signal(signal.SIGKILL)
        part.wait(timeout=120)


CHECK = """
import sys
from core.errors import FarmError
from supervisor import part_forks
from supervisor.part_forks import forking_parts

fault, url = sys.argv[1:]
part_forks._PR_SET_CHILD_SUBREAPER = 9999 if fault == "prctl refuses" else 36
with forking_parts() as forks:
    if fault == "the process that forks ends":
        forks.close()
    try:
        print(forks.prepare_database(url))
    except FarmError as error:
        print(error.code)
    assert "sqlalchemy" not in sys.modules
"""


def prepared(url: str, fault: str = "") -> str:
    command = [sys.executable, "-c", CHECK, fault, url]
    return subprocess.check_output(command, text=True, env=clean_environment(), cwd=ROOT, timeout=300).strip()


def test_the_database_is_migrated_and_checked_in_a_fork(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'imagefarm.db'}"
    assert [prepared(url), prepared(url)] == ["True", "True"]
    with sqlite3.connect(tmp_path / "imagefarm.db") as database:
        assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert prepared(url) == "database_newer"


@pytest.mark.parametrize("fault", ["the process that forks ends", "prctl refuses"])
def test_the_supervisor_learns_that_no_fork_can_check_the_database(fault: str, tmp_path: Path) -> None:
    assert prepared(f"sqlite:///{tmp_path / 'imagefarm.db'}", fault) == "False"
    assert not (tmp_path / "imagefarm.db").exists()
