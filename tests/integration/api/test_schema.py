"""Schemathesis over the whole OpenAPI document: no 5xx, and nothing that the document does not say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from db.workers import all_workers
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
NAMED = "studio-gpu0"
"""The document's example of a worker's name: it may be paused and drained while another worker ends the jobs."""


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """One database will do."""
    return fresh_sqlite


@pytest.mark.timeout(600)
def test_every_answer_is_documented(make_settings: SettingsMaker, worker: WorkerSide, tmp_path: Path) -> None:
    settings = make_settings(sync_wait_seconds=25, max_images_per_job=2)
    named = WorkerSide(settings, name=NAMED)
    named.ready()
    with serving(settings) as url, worker.working():
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--checks", ",".join(CHECKS), "--phases", "examples,fuzzing", "--max-examples", "6"),
            *("--generation-deterministic", "--request-timeout", "30"),
            *("--suppress-health-check", "all", "--no-color"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    row = next(each for each in all_workers(worker.database) if each.name == NAMED)
    assert row.drain_requested_at is not None, "draining was not tried on a worker that is there"
    named.close()
