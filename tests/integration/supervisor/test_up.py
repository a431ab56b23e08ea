"""`imagefarm up` as a user runs it: second starts, killed processes, Ctrl-C and SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cli.exit_codes import ExitCode
from tests.e2e.waiting import submit, wait_started
from tests.servers.farm import FarmProcess, running_farm

PARTS = ("redis", "api", "worker", "reaper", "flower")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    with running_farm(tmp_path_factory.mktemp("up"), "--model", "demo", "--device", "cpu") as running:
        yield running


def test_the_printed_addresses_answer(farm: FarmProcess) -> None:
    assert httpx.get(f"{farm.api}/healthz").status_code == 200
    assert httpx.get(f"{farm.flower}/healthcheck").status_code == 200
    assert "its images are noise" in farm.output


def test_a_second_start_names_the_running_farm(farm: FarmProcess) -> None:
    second = FarmProcess(farm.data_dir.parent)
    assert second.wait_end() == ExitCode.ALREADY_RUNNING
    assert f"process {farm.process.pid} at {farm.api}" in second.output
    assert "Traceback" not in second.output


@pytest.mark.parametrize("part", ["api", "reaper", "flower", "redis"])
def test_a_killed_process_restarts(farm: FarmProcess, part: str) -> None:
    seen = len(farm.lines)
    before = farm.pid_of(part)
    os.kill(before, signal.SIGKILL)
    farm.wait_for(rf"{part} \(process {before}\) was killed by SIGKILL.*restarts in", after=seen)
    assert farm.pid_of(part, after=seen) != before


def test_each_process_has_a_log_file(farm: FarmProcess) -> None:
    for part in ("farm", "redis"):
        assert (farm.data_dir / "logs" / f"{part}.log").read_text()


def test_a_port_in_use_names_the_option_and_the_setting(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        farm = FarmProcess(tmp_path, "--port", str(port), "--flower-port", "0")
        assert farm.wait_end() == ExitCode.PORT_TAKEN
    assert f"Port {port} on 127.0.0.1 is not free" in farm.output
    assert "--port N or IMAGEFARM_PORT=N" in farm.output
    assert "Traceback" not in farm.output
    farm.wait_nothing_left()


def test_ctrl_c_in_a_path_with_a_space_leaves_no_process(tmp_path: Path) -> None:
    directory = tmp_path / "with a space é"
    directory.mkdir()
    with running_farm(directory, "--model", "demo", "--device", "cpu") as farm:
        assert len(farm.left_behind()) >= len(PARTS)
        assert farm.interrupt() == ExitCode.OK
        stopped = [line for line in farm.output.splitlines() if line.endswith(" stopped")]
        assert "redis stopped" in stopped[-2], "Redis must stop after the processes that use it"
        assert "everything has stopped" in farm.output
        assert "Traceback" not in farm.output
        farm.wait_nothing_left()


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    slow = {"IMAGEFARM_RENDERER": "synthetic", "IMAGEFARM_SYNTHETIC_STEP_SECONDS": "30"}
    with running_farm(tmp_path, "--model", "demo", "--device", "cpu", **slow) as farm:
        wait_started(farm.api, submit(farm.api, prompt="a long job")["id"])
        farm.process.send_signal(signal.SIGINT)
        farm.wait_for("stopping: running jobs finish")
        farm.process.send_signal(signal.SIGINT)
        farm.wait_end(20)
        assert "second stop request: stopping at once" in farm.output
        assert "everything has stopped" in farm.output
        assert "unexpected error" not in farm.output
        farm.wait_nothing_left()


def test_a_killed_supervisor_leaves_no_process(tmp_path: Path) -> None:
    with running_farm(tmp_path, "--model", "demo", "--device", "cpu") as farm:
        parts = [psutil.Process(farm.pid_of(part)) for part in PARTS if part != "worker"]
        assert all(part.is_running() for part in parts)
        farm.process.kill()
        farm.wait_end()
        farm.wait_nothing_left()


def test_a_public_address_without_keys_is_refused(tmp_path: Path) -> None:
    farm = FarmProcess(tmp_path, "--host", "0.0.0.0")
    assert farm.wait_end() == ExitCode.USAGE
    assert "no API key exists" in farm.output
    assert not (tmp_path / "data" / "imagefarm.db").exists()


def test_an_unusable_data_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the directory should be")
    farm = FarmProcess(tmp_path)
    assert farm.wait_end() == ExitCode.FAILED
    assert "cannot be written" in farm.output
    assert "Traceback" not in farm.output


def test_an_unreachable_database_is_an_error(tmp_path: Path) -> None:
    farm = FarmProcess(tmp_path, IMAGEFARM_DATABASE_URL="postgresql+psycopg://postgres@127.0.0.1:1/none")
    assert farm.wait_end() == ExitCode.UNREACHABLE
    assert "Traceback" not in farm.output
    farm.wait_nothing_left()


def test_configured_servers_replace_the_embedded_ones(tmp_path: Path, redis_url: str, fresh_postgres: str) -> None:
    servers = {"IMAGEFARM_REDIS_URL": redis_url, "IMAGEFARM_DATABASE_URL": fresh_postgres}
    with running_farm(tmp_path, "--model", "demo", "--device", "cpu", **servers) as farm:
        assert "redis starts" not in farm.output
        assert not (farm.data_dir / "imagefarm.db").exists()
        assert farm.interrupt() == ExitCode.OK


def test_json_logs_have_one_object_per_line(tmp_path: Path) -> None:
    ports = ("--port", "0", "--flower-port", "0")
    with running_farm(tmp_path, "--model", "demo", "--device", "cpu", *ports, IMAGEFARM_LOG_FORMAT="json") as farm:
        farm.interrupt()
    for line in farm.lines:
        assert isinstance(json.loads(line), dict)


def test_packages_in_the_current_directory_are_never_imported(tmp_path: Path) -> None:
    for name in ("core", "api", "worker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported from the current directory')")
    with running_farm(tmp_path, "--model", "demo", "--device", "cpu", PYTHONSAFEPATH="1") as farm:
        wait_started(farm.api, submit(farm.api, prompt="a cat")["id"])
        assert "current directory" not in farm.output
