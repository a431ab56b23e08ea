"""Help, usage errors and exit codes of every command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cli.exit_codes import MEANINGS, ExitCode, exit_code_for, run_guarded
from cli.main import app
from core import extras
from core.errors import Conflict, FarmError, InvalidInput, TooManyRequests, Unauthorized, Unavailable
from core.settings import Settings
from imagefarm import WaitTimeout
from supervisor.startup_checks import AlreadyRunning, PortTaken
from tests.servers.farm import ROOT, clean_environment
from tests.servers.forks import CLI_IMPORTS, ENGINE_IMPORTS, run_fork


def cli(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a forked process, or with a new interpreter when the environment has what only that reads."""
    env = clean_environment(**environment)
    if "LC_ALL" in environment:
        command = [sys.executable, "-m", "cli", *words]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300)
    imports = [*CLI_IMPORTS, *(ENGINE_IMPORTS if words[0] == "doctor" or "pull" in words else ())]
    return run_fork("cli", *words, imports=imports, environment=env, cwd=cwd)


def commands() -> list[tuple[str, ...]]:
    top = get_command(app)
    found: list[tuple[str, ...]] = []
    for name, command in top.commands.items():  # type: ignore[attr-defined]
        subcommands = getattr(command, "commands", {})
        found.extend([(name, subcommand) for subcommand in subcommands] or [(name,)])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help_without_extras(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output
    assert len(result.output.split("Usage:")[1].split("Options")[0].split()) > 6, "the help has no description"


def test_the_help_documents_the_exit_codes() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning.replace('`', '')}" in shown
    assert set(MEANINGS) == set(ExitCode)


def test_wrong_usage_and_wrong_settings_exit_with_2_without_a_traceback(tmp_path: Path) -> None:
    for words, environment in [(("bogus",), {}), (("up", "--workers", "x"), {}), (("up",), {"IMAGEFARM_PORT": "http"})]:
        done = cli(*words, cwd=tmp_path, **environment)
        assert done.returncode == ExitCode.USAGE
        assert "Traceback" not in done.stderr
    assert "IMAGEFARM_PORT is 'http'" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_part_without_redis_names_the_setting(tmp_path: Path) -> None:
    done = cli("flower", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "IMAGEFARM_REDIS_URL" in done.stderr


def test_an_unknown_model_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = cli("up", "--model", "nope", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "Known models" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("m"), ExitCode.USAGE),
        (Unavailable("m"), ExitCode.UNREACHABLE),
        (AlreadyRunning("m"), ExitCode.ALREADY_RUNNING),
        (PortTaken("m"), ExitCode.PORT_TAKEN),
        (Conflict("m"), ExitCode.FAILED),
        (Conflict("m", code="already_running"), ExitCode.ALREADY_RUNNING),
        (InvalidInput("m", code="export_failed"), ExitCode.FAILED),
        (Unauthorized("m"), ExitCode.REFUSED),
        (TooManyRequests("m", retry_after=1), ExitCode.REFUSED),
        (WaitTimeout("m"), ExitCode.NOT_DONE),
    ],
)
def test_each_error_has_its_exit_code(error: FarmError, code: ExitCode, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise error

    assert exit_code_for(error) == code
    assert run_guarded(command) == code
    assert capsys.readouterr().err == "imagefarm: m\n"


def test_an_unexpected_error_shows_a_traceback_only_in_debug_mode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise ZeroDivisionError("message")

    monkeypatch.delenv("IMAGEFARM_DEBUG", raising=False)
    assert run_guarded(command) == ExitCode.FAILED
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("IMAGEFARM_DEBUG", "1")
    run_guarded(command)
    assert "Traceback" in capsys.readouterr().err


def test_help_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'sqlalchemy', 'celery', 'fastapi'}"
    code = f"import sys, cli.main; cli.main.full_app(); sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


ASCII_STREAMS = {"PYTHONIOENCODING": "ascii"}
ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (("--help",), ASCII_STREAMS),
        (("models", "list"), ASCII_STREAMS),
        (("models", "list"), ASCII_LOCALE),
        (("doctor", "--json"), ASCII_STREAMS),
        (("db", "check"), ASCII_LOCALE),
    ],
)
def test_a_terminal_that_lacks_characters_ends_no_command(
    tmp_path: Path, words: tuple[str, ...], environment: dict[str, str]
) -> None:
    directory = tmp_path / "猫 …"
    directory.mkdir()
    done = cli(
        *words, cwd=directory, **environment, IMAGEFARM_DATA_DIR="data", IMAGEFARM_PORT="0", IMAGEFARM_FLOWER_PORT="0"
    )
    assert "UnicodeEncodeError" not in done.stderr and "unexpected error" not in done.stderr
    assert done.returncode in (ExitCode.OK, ExitCode.FAILED)
    assert done.stdout


_SEVERAL = """
import json, sys
from cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code
    assert not code, (words, code)
"""


def test_an_ascii_locale_names_every_data_directory(tmp_path: Path) -> None:
    """One interpreter runs all commands: the first of them starts it again in UTF-8."""
    directory = tmp_path / "dätä"
    environment = clean_environment(**ASCII_LOCALE, IMAGEFARM_DATA_DIR=str(directory))
    commands = [["db", "upgrade"], ["keys", "list"], ["models", "list", "--json"], ["backup", str(tmp_path / "bäckup")]]
    words = [sys.executable, "-c", _SEVERAL, json.dumps(commands)]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (directory / "imagefarm.db").is_file()
    assert (tmp_path / "bäckup").is_dir()


def test_a_directory_whose_name_is_no_text_is_refused_with_what_to_do(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/d\xe4t\xe4")
    Path(odd).mkdir()
    for cwd, environment in ((tmp_path, {"IMAGEFARM_DATA_DIR": odd}), (Path(odd), {})):
        for words in (("db", "check"), ("models", "list"), ("doctor",), ("up",)):
            done = cli(*words, cwd=cwd, **environment)
            assert done.returncode == ExitCode.USAGE
            assert "is not text in UTF-8: rename that folder" in done.stderr
            assert "unexpected" not in done.stderr


def test_a_settings_file_is_read_as_utf_8_in_every_locale(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("IMAGEFARM_DATA_DIR=dätä\n", encoding="utf-8")
    assert cli("db", "upgrade", cwd=tmp_path, LC_ALL="C", PYTHONUTF8="0").returncode == ExitCode.OK
    assert (tmp_path / "dätä" / "imagefarm.db").is_file()
    (tmp_path / ".env").write_bytes(b"IMAGEFARM_DATA_DIR=d\xe4t\xe4\n")
    done = cli("db", "check", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert re.fullmatch(r"imagefarm: The file \.env is not text in UTF-8 .*byte 20\): save it as such\.\n", done.stderr)


def test_one_port_for_api_and_flower_is_refused(tmp_path: Path) -> None:
    done = cli("up", "--port", "7999", "--flower-port", "7999", cwd=tmp_path)
    assert done.returncode == ExitCode.PORT_TAKEN
    assert "API and Flower cannot both listen on port 7999" in done.stderr
    assert not (tmp_path / "data").exists()


def test_what_the_system_refuses_is_named_and_not_unexpected(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise OSError(28, "No space left on device", "/data/x")

    assert run_guarded(command) == ExitCode.FAILED
    assert capsys.readouterr().err == "imagefarm: /data/x: No space left on device.\n"


def test_a_worker_is_told_its_places_on_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[Settings] = []

    def note(settings: Settings) -> int:
        started.append(settings)
        return 0

    monkeypatch.setattr("cli.part.worker", note)
    monkeypatch.setenv("IMAGEFARM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("IMAGEFARM_REDIS_URL", "redis://elsewhere:6379/0")
    places = {"redis": "rediss://box:6379/1", "database": "postgresql://box/farm", "storage": "s3://images/farm"}
    words = [word for name, url in places.items() for word in (f"--{name}", url)]
    assert CliRunner().invoke(app, ["worker", "--model", "demo", *words], standalone_mode=False).return_value == 0
    (found,) = started
    assert (found.redis_url, found.database_url, found.storage_url) == tuple(places.values())
    wrong = cli("worker", "--redis", "http://box", IMAGEFARM_DATA_DIR=str(tmp_path))
    assert wrong.returncode == 2 and "IMAGEFARM_REDIS_URL" in wrong.stderr
