"""One control host and three worker hosts: join, cuts of the network, a power cut; nothing is lost and nothing ends twice.

`python -m benchmarks.hosts` runs these and further faults at full length.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.faults import host_faults
from benchmarks.faults.audit import Findings, audit
from benchmarks.faults.host_faults import Fault, hit_host
from benchmarks.hosts import Scenarios, small_disk
from core.settings import Settings
from db.database import Database
from db.tables import Job
from storage.stores import open_images
from tests.integration.farm.client import Client
from tests.servers.network.farm import HostedFarm
from tests.servers.network.hosts import HostsNotPermitted, check_permitted, running_network
from tests.servers.network.last_release_farm import LastReleaseFarm

LEASE_SECONDS = 8.0
SETTINGS = {
    "IMAGEFARM_SYNTHETIC_STEP_SECONDS": "0.1",
    "IMAGEFARM_LEASE_SECONDS": str(LEASE_SECONDS),
    "IMAGEFARM_HEARTBEAT_SECONDS": "1.5",
    "IMAGEFARM_DRAIN_SECONDS": "5",
}


@pytest.fixture(scope="module")
def farm(server_root: Path) -> Iterator[HostedFarm]:
    """Start one farm for all tests but the upgrade, of which each leaves it whole."""
    skip_unless_permitted()
    with running_network(server_root / "hosts") as network, small_disk(server_root / "hosts-disk") as disk:
        yield HostedFarm(network, settings=SETTINGS, disk=disk, forked=True).start()


def skip_unless_permitted() -> None:
    try:
        check_permitted()
    except HostsNotPermitted as error:
        pytest.skip(f"FARMS ON SEVERAL HOSTS ARE NOT TESTED HERE: {error}")


@pytest.fixture
def client(farm: HostedFarm) -> Iterator[Client]:
    with Client(farm.url) as client:
        yield client


def workers_of(farm: HostedFarm) -> set[str]:
    return {f"{host.name}-cpu" for host in farm.workers}


def assert_nothing_lost(farm: HostedFarm, job_ids: list[str]) -> None:
    """Every accepted job succeeded once, with its file in the bucket."""
    database = farm.database()
    try:
        kept = set(open_images(Settings(storage_url=farm.storage_url)).iter_keys())
        found = audit(database, kept.__contains__, job_ids, [], [], 0)
    finally:
        database.dispose()
    assert failures_of(found) == {}


def failures_of(found: Findings) -> dict[str, int]:
    """Return what went wrong; jobs of other tests on the same farm look like jobs that nobody has submitted."""
    return {name: count for name, count in found.failures().items() if name != "idempotency_violations"}


def test_hosts_join_by_one_line_and_all_render(farm: HostedFarm, client: Client) -> None:
    nodes = {node["name"]: node for node in farm.get("/v1/nodes")["items"]}
    assert set(nodes) == {host.name for host in farm.workers}
    jobs = [client.submit(f"job {number}", num_inference_steps=5)["id"] for number in range(12)]
    for job_id in jobs:
        client.wait(job_id, "succeeded")
    for worker in workers_of(farm):
        assert_works_again(farm, client, worker)
    assert_nothing_lost(farm, jobs)


def test_two_jobs_run_on_two_hosts(farm: HostedFarm, client: Client) -> None:
    for _ in range(5):  # A host that this machine keeps from waiting for hints misses a round.
        jobs = [client.submit(f"pair {number}", num_inference_steps=30)["id"] for number in range(2)]
        done = [client.wait(job_id, "succeeded") for job_id in jobs]
        assert all(job["attempt"] == 1 for job in done)
        if len({job["worker"] for job in done}) == 2:
            break
    assert len({job["worker"] for job in done}) == 2


@pytest.mark.parametrize("fault", [host_faults.cut, host_faults.cut_outgoing, host_faults.cut_incoming])
def test_jobs_of_a_host_that_is_cut_off_run_elsewhere_and_it_works_again_once_it_is_back(
    farm: HostedFarm, client: Client, fault: Fault
) -> None:
    lost = f"{hit_host(farm).name}-cpu"
    jobs, hit = submit_until_running_on(client, lost)
    with fault(farm, 0.0):
        for job_id in hit:
            moved = client.wait_for(job_id, lambda job: job["attempt"] >= 2)
            assert moved["worker"] != lost
        assert all(client.wait(job_id, "succeeded")["worker"] != lost for job_id in hit)
    assert_works_again(farm, client, lost)
    assert_nothing_lost(farm, jobs)


def test_jobs_of_a_host_without_power_run_elsewhere_and_it_joins_again_without_a_token(
    farm: HostedFarm, client: Client
) -> None:
    host = hit_host(farm)
    lost = f"{host.name}-cpu"
    jobs, hit = submit_until_running_on(client, lost)
    host.kill()
    assert all(client.wait(job_id, "succeeded")["worker"] != lost for job_id in hit)
    farm.restart_host(host)
    assert_works_again(farm, client, lost)
    assert_nothing_lost(farm, jobs)


def test_a_host_that_vanishes_in_a_transaction_holds_no_locks_for_long(farm: HostedFarm, client: Client) -> None:
    host = hit_host(farm)
    job_id = client.submit("locked", num_inference_steps=100)["id"]
    client.wait(job_id, "running")
    holder = host.start(*host.python("tests.servers.network.lock_holder", farm.database_url, job_id), log="holder.log")
    assert holder.log is not None
    farm.wait_until(lambda: "locked" in (host.directory / "holder.log").read_text(), "the row is locked")
    with host_faults.cut(farm, 0.0):
        database = farm.database()
        try:
            farm.wait_until(lambda: not is_locked(database, job_id), "the row is free", seconds=300)
        finally:
            database.dispose()
        client.wait(job_id, "succeeded")
    assert_works_again(farm, client, f"{host.name}-cpu")


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (host_faults.slow_network, 5.0),
        (host_faults.without_redis, 3.0),
        (host_faults.redis_loses_data, 3.0),
        (host_faults.without_postgres, 3.0),
        (host_faults.full_control_disk, 5.0),
        (host_faults.killed_hosts, 5.0),
        (host_faults.rolling_restart, 8.0),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_no_job_is_lost_or_done_twice_while_the_farm_is_broken(farm: HostedFarm, fault: Fault, seconds: float) -> None:
    database = farm.database()
    try:
        result = Scenarios(farm, 6.0, database).run(fault.__name__, fault, seconds)
    finally:
        database.dispose()
    assert result.jobs and failures_of(result.findings) == {}, result


def test_no_job_is_lost_or_done_twice_while_every_part_is_upgraded_from_the_last_release(server_root: Path) -> None:
    skip_unless_permitted()
    with running_network(server_root / "hosts-upgrade") as network:
        farm = LastReleaseFarm(network, settings=SETTINGS).start()
        database = farm.database()
        try:
            result = Scenarios(farm, 6.0, database).run(host_faults.UPGRADE, host_faults.upgrade, 15.0)
        finally:
            database.dispose()
        assert result.jobs and result.findings.failures() == {}, result


def is_locked(database: Database, job_id: str) -> bool:
    with database.write() as session:
        return session.scalar(select(Job.id).where(Job.id == job_id).with_for_update(skip_locked=True)) is None


def submit_until_running_on(client: Client, worker: str) -> tuple[list[str], list[str]]:
    """Submit jobs of ten seconds until this worker runs some; return the ids of all, and of those."""
    jobs: list[str] = []
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        jobs += [client.submit(f"job {number}", num_inference_steps=100)["id"] for number in range(3)]
        found = [client.wait(job_id, "running", "succeeded") for job_id in jobs]
        if hit := [job["id"] for job in found if job["status"] == "running" and job["worker"] == worker]:
            return jobs, hit
    raise AssertionError(f"{worker} runs no job")


def assert_works_again(farm: HostedFarm, client: Client, worker: str) -> None:
    """Submit until this worker has run a job."""
    deadline = time.monotonic() + 400
    while True:
        jobs = [client.submit("again", num_inference_steps=3)["id"] for _ in range(6)]
        if worker in {client.wait(job_id, "succeeded")["worker"] for job_id in jobs}:
            return
        assert time.monotonic() < deadline, farm.worker_states()
