"""Two workers never share a name, and a restarted one gets its jobs back at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts, Part
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm
from tests.integration.farm.test_outages import start_fast, wait_log
from tests.servers.forked_parts import fork_part

ClientOf = Callable[[FarmParts], Client]


def second_worker(farm: FarmParts, directory: Path, **changes: str) -> Part:
    """Return another worker with the first one's environment, except for `changes`."""
    environment = {**farm.parts["worker0"].environment, **changes}
    directory.mkdir()
    return Part("second", ["worker"], environment, directory, fork_part)


@pytest.mark.parametrize("same_machine", [True, False], ids=["one data directory", "another data directory"])
def test_a_second_worker_of_a_live_name_is_refused_and_harms_no_job(
    start_farm: StartFarm, client_of: ClientOf, tmp_path: Path, same_machine: bool
) -> None:
    farm = start_farm(synthetic_step_seconds=0.1, max_attempts=1)
    client = client_of(farm)
    jobs = [client.submit(num_inference_steps=10)["id"] for _ in range(8)]
    changes = {} if same_machine else {"IMAGEFARM_DATA_DIR": str(tmp_path / "elsewhere")}
    second = second_worker(farm, tmp_path / "second", **changes)
    for _ in range(2):
        second.start()
        assert second.process is not None and second.process.wait(300) == 1
    text = second.log.read_text()
    assert "A live worker is named 'worker0'" in text and "Traceback" not in text
    for job_id in jobs:
        assert client.wait(job_id, "succeeded", "held")["attempt"] == 1
        assert client.job(job_id)["status"] == "succeeded"


def test_two_unnamed_workers_on_one_machine_get_two_names(start_farm: StartFarm, client_of: ClientOf) -> None:
    farm = start_farm(workers=2, worker_name="")
    for part in farm.worker_parts():
        part.environment["IMAGEFARM_WORKER_NAME"] = ""
        part.stop()
    for part in farm.worker_parts():
        part.start()
        wait_log(part, r"worker \S+-cpu(-2)? serves demo")
        assert "Warning" not in part.log.read_text()
    names = {row["name"]: row for row in client_of(farm).http.get("/v1/workers").json()["items"] if row["live"]}
    first, second = sorted(names)
    assert second == f"{first}-2"


def test_a_killed_workers_job_costs_no_attempt(start_farm: StartFarm, client_of: ClientOf) -> None:
    farm = start_farm(synthetic_step_seconds=1, lease_seconds=600, heartbeat_seconds=5, max_attempts=1)
    client = client_of(farm)
    job_id = client.submit(num_inference_steps=60)["id"]
    client.wait(job_id, "running")
    farm.parts["worker0"].kill()
    start_fast(farm.parts["worker0"])
    done = client.wait(job_id, "succeeded", "held")
    assert (done["status"], done["attempt"]) == ("succeeded", 2)
