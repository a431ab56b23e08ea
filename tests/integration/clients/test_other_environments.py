"""Client packages whose pins exclude those of the farm: each runs unchanged in an environment of its own.

`python -m venv .venv/clients && .venv/clients/bin/pip install -r tests/integration/clients/requirements.txt` makes it.
"""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import missing_tool
from tests.integration.clients.conftest import ClientFarm, png

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.prefix) / "clients" / "bin"


@pytest.fixture(scope="module")
def python() -> Path:
    if not (BIN / "python").exists():
        missing_tool(f"{BIN.parent} is missing: make it from {PROGRAMS.parent / 'requirements.txt'}")
    return BIN / "python"


def run(python: Path, program: str, farm: ClientFarm, *arguments: str) -> dict[str, Any]:
    """Run a program and return what it printed."""
    command = [str(python), "-I", str(PROGRAMS / f"{program}_program.py"), farm.url, farm.key, *arguments]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with farm.worker.working():
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **quiet, "PYTHONPATH": ""}
        )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_litellm_generates_and_edits(farm: ClientFarm, python: Path) -> None:
    found = run(python, "litellm", farm, png().hex())
    assert len(found["urls"]) == 2 and httpx.get(found["urls"][0]).status_code == 200
    assert found["base64"] and found["edited"]
    assert "no model called 'no-such'" in found["refused"]


def test_langchain_reads_the_link(farm: ClientFarm, python: Path) -> None:
    assert httpx.get(run(python, "langchain", farm)["url"]).status_code == 200


def test_a_generated_client_compiles_and_calls_the_farm(farm: ClientFarm, python: Path, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(farm.http.get("/openapi.json").content)
    made = subprocess.run(
        [str(python), "-m", "openapi_python_client", "generate", "--path", str(document), "--meta", "none",
         "--output-path", str(tmp_path / "client"), "--overwrite"],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    operations = [call for path in json.loads(document.read_text())["paths"].values() for call in path.values()]
    files = [path for path in (tmp_path / "client" / "api").rglob("*.py") if path.name != "__init__.py"]
    assert len(files) == len(operations), "an operation is left out"
    assert compileall.compile_dir(str(tmp_path / "client"), quiet=1)
    found = run(python, "generated", farm, str(tmp_path), png().hex())
    assert (found["job"], found["listed"], found["drawn"]) == (["succeeded", 64], ["demo"], 1)
    assert farm.job(found["edited"])["status"] == "succeeded"
    assert found["refused"] == [422, "invalid_parameters", ["prompt", "width"]]
    assert httpx.get(found["made"]).status_code == 200
    answers = all_answers(python, farm, tmp_path, found)
    assert len(answers) == len(operations)
    undocumented = {call: status for call, status in answers.items() if str(status) not in documented(document)[call]}
    assert undocumented == {"get /v1/events": 0}, "a stream that does not end; each other one returns what is documented"


def all_answers(python: Path, farm: ClientFarm, folder: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Return the status of every operation of the generated client, called once; a text for one that raised."""
    job = farm.job(made["edited"])
    return run(python, "all_operations", farm, str(folder), png().hex(), job["id"], job["outputs"][0]["id"])


def documented(document: Path) -> dict[str, set[str]]:
    """Return the statuses of each operation."""
    paths = json.loads(document.read_text())["paths"]
    return {f"{verb} {path}": set(call["responses"]) for path, verbs in paths.items() for verb, call in verbs.items()}
