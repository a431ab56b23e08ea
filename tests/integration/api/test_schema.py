"""Schemathesis over the whole OpenAPI document: no 5xx, and no undocumented response."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.queue import UPSCALE
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
"""Worker name in the document's examples: it may be paused and drained while another worker finishes the jobs."""


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.mark.timeout(600)
def test_every_response_is_documented(make_settings: SettingsMaker, worker: WorkerSide, tmp_path: Path) -> None:
    settings = make_settings(sync_wait_seconds=25, max_images_per_job=2)
    named = WorkerSide(settings, name=NAMED)
    named.ready()
    upscaler = WorkerSide(settings, UPSCALE, "box-upscale")
    upscaler.ready()
    with serving(settings) as url, worker.working(0.2), upscaler.working(0.2):
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--checks", ",".join(CHECKS), "--phases", "examples,fuzzing", "--max-examples", "2"),
            *("--generation-deterministic", "--request-timeout", "120"),
            *("--suppress-health-check", "all", "--no-color"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    rows = [each for each in all_workers(worker.database) if each.name == NAMED]
    # Removing its machine deletes the row.
    assert not rows or rows[0].drain_requested_at is not None, "drain was not tried on an existing worker"
    named.close()
    upscaler.close()
