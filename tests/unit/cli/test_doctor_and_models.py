"""`imagefarm doctor` and `imagefarm models` on this machine."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from cli.exit_codes import ExitCode
from tests.unit.cli.test_main import cli


def test_doctor_reports_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        done = cli("doctor", "--json", cwd=tmp_path, IMAGEFARM_PORT=port, IMAGEFARM_FLOWER_PORT="0")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == ExitCode.FAILED
    assert port in checks["api port"]["detail"]
    assert {"python", "libraries", "torchvision", "disk", "redis", "database", "weights"} <= set(checks)
    assert checks["database"]["status"] == "ok"
    assert checks["memory"]["advice"].startswith("For z-image-turbo, whose weights are not here: ")


def test_doctor_reports_unreachable_servers(tmp_path: Path) -> None:
    done = cli(
        "doctor",
        "--json",
        cwd=tmp_path,
        IMAGEFARM_PORT="0",
        IMAGEFARM_FLOWER_PORT="0",
        IMAGEFARM_REDIS_URL="redis://:secret@127.0.0.1:1/0",
        IMAGEFARM_DATABASE_URL="postgresql://postgres:secret@127.0.0.1:1/none",
    )
    checks = {check["name"]: check["status"] for check in json.loads(done.stdout)}
    assert (checks["redis"], checks["database"]) == ("problem", "problem")
    assert "secret" not in done.stdout + done.stderr


def test_nothing_precedes_the_error_of_a_verification(tmp_path: Path) -> None:
    done = cli("models", "verify", "demo", cwd=tmp_path)
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith("imagefarm: "), done.stderr


def test_models_list_shows_the_catalogue(tmp_path: Path) -> None:
    listed = {row["id"]: row for row in json.loads(cli("models", "list", "--json", cwd=tmp_path).stdout)}
    assert listed["demo"]["here"] is True
    assert listed["z-image-turbo"]["weights"]["repo"] == "Tongyi-MAI/Z-Image-Turbo"
    assert "demo" in cli("models", "list", cwd=tmp_path).stdout


def test_pull_builds_the_demo_model(tmp_path: Path) -> None:
    done = cli("models", "pull", "demo", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    assert list((tmp_path / "data" / "models" / "demo").rglob("*.safetensors"))


def test_pull_of_an_unknown_model_names_the_known_ones(tmp_path: Path) -> None:
    done = cli("models", "pull", "nope", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "z-image-turbo" in done.stderr
