"""Every finished image appears by itself in the folder of outputs, and a bad folder harms no job."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from benchmarks.faults.parts import FarmParts
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm
from tests.integration.farm.test_storage_outages import outage, wait_worker

ClientOf = Callable[[FarmParts], Client]


def wait_files(folder: Path, count: int, seconds: float = 300.0) -> list[Path]:
    """Wait until the folder holds so many images and return them."""
    deadline = time.monotonic() + seconds
    while len(found := sorted(folder.rglob("outputs_*.png"))) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_images_of_all_workers_appear_under_the_time_of_their_job(
    start_farm: StartFarm, client_of: ClientOf, tmp_path: Path
) -> None:
    outputs = tmp_path / "mine" / "outputs"
    farm = start_farm(workers=2, outputs_dir=outputs)
    client = client_of(farm)
    jobs = [client.submit(f"job {number}", num_images=2)["id"] for number in range(6)]
    done = [client.wait(job_id, "succeeded") for job_id in jobs]
    files = wait_files(outputs, 12)
    stored = {path.stat().st_ino for path in (farm.directory / "data" / "images").rglob("*.png")}
    assert {path.stat().st_ino for path in files} == stored, "on one file system they are links, which take no space"
    moments = {f"outputs_{datetime.fromisoformat(job['completed_at']).astimezone():%Y%m%d%H%M%S}" for job in done}
    assert {path.name[:22] for path in files} == moments
    assert client.http.delete(f"/v1/jobs/{jobs[0]}").status_code == 204
    assert len(wait_files(outputs, 12)) == 12, "a deleted job leaves its images there"


def test_a_folder_that_takes_no_files_is_reported_and_harms_no_job(
    start_farm: StartFarm, client_of: ClientOf, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    farm = start_farm(outputs_dir=outputs, outputs_by_day=True, max_attempts=1, heartbeat_seconds=0.2)
    client = client_of(farm)
    with outage(outputs):
        job = client.wait(client.submit(num_images=2)["id"], "succeeded", "held", "failed")
        assert (job["status"], job["attempt"], len(job["outputs"])) == ("succeeded", 1, 2)
        told = wait_worker(client, lambda row: "left out of it: 2" in (row["message"] or ""))
        assert told["state"] == "ready"
        assert told["message"].startswith("outputs folder: a file stands where a folder should be.")
    job = client.wait(client.submit()["id"], "succeeded")
    (file,) = wait_files(outputs, 1)
    assert file.parent.name == datetime.fromisoformat(job["completed_at"]).astimezone().date().isoformat()
    assert wait_worker(client, lambda row: row["message"] is None)["state"] == "ready"
