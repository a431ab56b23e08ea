"""`imagefarm up` as a user runs it: second starts, killed processes, Ctrl-C and SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from cli.exit_codes import ExitCode
from tests.e2e.waiting import submit, wait_settled, wait_started
from tests.servers.farm import SYNTHETIC, FarmProcess, clean_environment, running_farm
from tests.servers.forked_parts import run_command
from tests.servers.ports import free_port

PARTS = ("redis", "api", "worker", "reaper", "flower")
DEMO = ("--model", "demo", "--device", "cpu")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    on_demand = {"IMAGEFARM_UPSCALE_WORKERS": "1", "IMAGEFARM_UPSCALER_IDLE_MINUTES": "0.02"}
    with running_farm(tmp_path_factory.mktemp("up"), *DEMO, **SYNTHETIC, **on_demand) as running:
        yield running


def refused_up(directory: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Return what a start printed that ended by itself, without a process of its own."""
    words = ("up", "--data-dir", str(directory / "data"), *options)
    done = run_command(*words, environment=clean_environment(**environment), cwd=directory)
    assert "Traceback" not in done.stderr + done.stdout
    assert "starts as process" not in done.stderr + done.stdout
    return done


def test_the_printed_addresses_answer(farm: FarmProcess) -> None:
    assert httpx.get(f"{farm.api}/healthz").status_code == 200
    assert httpx.get(f"{farm.flower}/healthcheck").status_code == 200
    assert "its images are noise" in farm.output


def test_a_second_start_names_the_running_farm(farm: FarmProcess) -> None:
    second = refused_up(farm.data_dir.parent)
    assert second.returncode == ExitCode.ALREADY_RUNNING
    assert f"process {farm.process.pid} at {farm.api}" in second.stderr


def test_an_upscaling_worker_runs_only_while_jobs_want_it(farm: FarmProcess) -> None:
    assert "upscaler starts" not in farm.output
    rows = httpx.get(f"{farm.api}/v1/upscalers").json()["items"]
    assert {row["id"]: row["installed"] for row in rows}["lanczos"]
    picture = BytesIO()
    Image.new("RGB", (20, 10)).save(picture, "PNG")
    uploaded = httpx.post(f"{farm.api}/v1/uploads", content=picture.getvalue(), headers={"content-type": "image/png"})
    body = {"upload": uploaded.json()["id"], "upscaler": "lanczos", "scale": 2}
    job = httpx.post(f"{farm.api}/v1/upscales", json=body).json()
    assert wait_settled(farm.api, job["id"])["status"] == "succeeded"
    farm.wait_for("upscaler had nothing to do and stopped")


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
        refused = refused_up(tmp_path, "--port", str(port), "--flower-port", "0")
    assert refused.returncode == ExitCode.PORT_TAKEN
    assert f"Port {port} on 127.0.0.1 is not free" in refused.stderr
    assert "--port N or IMAGEFARM_PORT=N" in refused.stderr


def test_ctrl_c_stops_everything_and_a_restart_renders_the_interrupted_job(tmp_path: Path) -> None:
    """In a path with a space, whose folders have the names of this project's packages; the restart logs in JSON."""
    directory = tmp_path / "with a space é"
    for name in ("core", "api", "worker"):
        (directory / name).mkdir(parents=True)
        (directory / name / "__init__.py").write_text("raise SystemExit('imported from the current directory')")
    slow = {"IMAGEFARM_SYNTHETIC_STEP_SECONDS": "1", "IMAGEFARM_DRAIN_SECONDS": "0.5", "PYTHONSAFEPATH": "1", **SYNTHETIC}
    with running_farm(directory, *DEMO, **slow) as farm:
        job = submit(farm.api, prompt="interrupted", num_inference_steps=60)
        wait_started(farm.api, job["id"])
        assert len(farm.left_behind()) >= len(PARTS)
        assert farm.interrupt() == ExitCode.OK
        stopped = [line for line in farm.output.splitlines() if line.endswith(" stopped")]
        assert "redis stopped" in stopped[-2], "Redis must stop after the processes that use it"
        assert "everything has stopped" in farm.output
        assert "Traceback" not in farm.output
        assert "current directory" not in farm.output
        farm.wait_nothing_left()
    port = free_port()
    ports = ("--port", str(port), "--flower-port", str(free_port()))
    quick = slow | {"IMAGEFARM_SYNTHETIC_STEP_SECONDS": "0.01", "IMAGEFARM_LOG_FORMAT": "json"}
    with running_farm(directory, *DEMO, *ports, **quick) as farm:
        done = wait_settled(f"http://127.0.0.1:{port}", job["id"])
        assert farm.interrupt() == ExitCode.OK
    assert (done["status"], done["attempt"]) == ("succeeded", 2), done
    assert any((directory / "data" / "images").iterdir())
    for line in farm.lines:
        assert isinstance(json.loads(line), dict), "one object per line"


def test_a_second_ctrl_c_stops_at_once_beside_configured_servers(
    tmp_path: Path, redis_url: str, fresh_postgres: str
) -> None:
    """Redis and Postgres are those of the settings, in place of the embedded ones."""
    servers = {"IMAGEFARM_REDIS_URL": redis_url, "IMAGEFARM_DATABASE_URL": fresh_postgres}
    slow = {"IMAGEFARM_SYNTHETIC_STEP_SECONDS": "30", **SYNTHETIC}
    with running_farm(tmp_path, *DEMO, **slow, **servers) as farm:
        assert "redis starts" not in farm.output
        assert not (farm.data_dir / "imagefarm.db").exists()
        wait_started(farm.api, submit(farm.api, prompt="a long job")["id"])
        farm.process.send_signal(signal.SIGINT)
        farm.wait_for("stopping: running jobs finish")
        farm.process.send_signal(signal.SIGINT)
        farm.wait_end()
        assert "second stop request: stopping at once" in farm.output
        assert "everything has stopped" in farm.output
        assert "unexpected error" not in farm.output
        farm.wait_nothing_left()


def test_a_public_address_without_keys_is_refused(tmp_path: Path) -> None:
    refused = refused_up(tmp_path, "--host", "0.0.0.0")
    assert refused.returncode == ExitCode.USAGE
    assert "no API key exists" in refused.stderr
    assert not (tmp_path / "data" / "imagefarm.db").exists()


def test_an_unusable_data_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the directory should be")
    refused = refused_up(tmp_path)
    assert refused.returncode == ExitCode.FAILED
    assert "cannot be written" in refused.stderr


def test_an_unreachable_database_is_an_error(tmp_path: Path) -> None:
    refused = refused_up(
        tmp_path,
        "--port",
        "0",
        "--flower-port",
        "0",
        IMAGEFARM_DATABASE_URL="postgresql+psycopg://postgres@127.0.0.1:1/none",
    )
    assert refused.returncode == ExitCode.UNREACHABLE


def test_a_killed_supervisor_leaves_no_process(farm: FarmProcess) -> None:
    """The last test of this module, as it ends the farm that the others share."""
    parts = [psutil.Process(farm.pid_of(part)) for part in PARTS if part != "worker"]
    assert all(part.is_running() for part in parts)
    farm.process.kill()
    farm.wait_end()
    farm.wait_nothing_left()
