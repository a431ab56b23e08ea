"""What workers and the API read of speeds, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from sqlalchemy import update

from core.queue import RedisKeys
from core.settings import Settings
from db import workers
from db.database import Database
from db.jobs.claim import Claimant, claim_many
from db.jobs.finish import finish_error
from db.jobs.succeed import finish_succeeded
from db.size_limits import SizeLimit
from db.sql import now
from db.statistics import Waiting, recent_means, waiting_work
from db.tables import Job, Worker
from db.worker_models import waiting_for
from db.worker_speeds import IdleWorker, SpeedRow, faster_workers, idle_workers, waiting_jobs
from tests.integration.db.conftest import Claim, Submit
from tests.servers.ports import free_port
from worker.runner.idle_workers import IdleWorkers

SPEEDS = {"fast": 0.5, "slow": 4.0, "new": None}


@pytest.fixture(autouse=True)
def _started(database: Database, claim: Claim) -> None:
    for name, seconds in SPEEDS.items():
        claim(name)
        speed = {} if seconds is None else {"speed": {"images": 7, "alone_seconds_per_megapixel_step": seconds}}
        report(database, name, speed)


def report(database: Database, name: str, info: dict[str, Any]) -> None:
    """Send a heartbeat that keeps the worker live however slow the test is."""
    assert workers.heartbeat(database, name, f"{name}-incarnation", state="ready", info=info) is not None
    with database.write() as session:
        session.execute(update(Worker).where(Worker.name == name).values(seen_at=now() + 3600))


def test_faster_workers_are_those_that_may_claim_the_job(database: Database, submit_job: Submit, claim: Claim) -> None:
    def found(job: str | None = None, seconds: float = 1.0) -> list[SpeedRow]:
        return list(faster_workers(database, "demo", "slow", seconds, job))

    assert found() == [SpeedRow("fast", 0.5, 7, 0)]
    assert found(seconds=0.5) == [] and list(faster_workers(database, "other", "slow", 1.0, None)) == []
    failed = submit_job()
    assert claim("fast") is not None
    assert found() == [SpeedRow("fast", 0.5, 7, 1)]
    finish_error(database, failed.id, 1, "out_of_memory", "too large")
    assert found(failed.id) == [] and found() != [], "it is excluded from that job only"
    workers.set_paused(database, "fast", paused=True)
    assert found() == []


def test_a_new_process_of_a_worker_is_not_measured_yet(database: Database) -> None:
    new = workers.Registration("fast", "another", "demo", "cpu", 1)
    workers.register(database, new, replaces=["fast-incarnation"])
    assert workers.heartbeat(database, "fast", "another", state="ready") is not None
    assert list(faster_workers(database, "demo", "slow", 1.0, None)) == []


def test_an_idle_worker_counts_unless_it_is_too_slow(
    database: Database, submit_job: Submit, claim: Claim, redis_url: str
) -> None:
    settings = Settings(redis_url=redis_url)

    def any_idle(slowest: float | None = None) -> bool:
        return IdleWorkers(settings, database, "demo", "fast").any_idle(slowest)

    def changed() -> None:
        with Redis.from_url(redis_url) as connection:
            connection.flushdb()

    workers.set_paused(database, "new", paused=True)
    assert any_idle() and not any_idle(3.9) and any_idle(4.0)
    workers.set_paused(database, "new", paused=False)
    changed()
    assert any_idle(1.0), "its speed is not known"
    for name in ("slow", "new"):
        submit_job()
        assert claim(name) is not None
    changed()
    assert not any_idle(), "the only idle worker is the one that asks"


def test_an_idle_worker_that_may_take_no_waiting_job_does_not_count(
    database: Database, submit_job: Submit, claim: Claim
) -> None:
    def idle() -> list[str]:
        return sorted(worker.name for worker in idle_workers(database, "demo"))

    assert idle() == ["fast", "new", "slow"]
    report(database, "new", {"max_pixels": 64 * 64, "max_pixels_guided": 64 * 64})
    large = submit_job(input={"width": 128, "height": 128})
    assert idle() == ["fast", "slow"]
    assert claim("slow") is not None
    finish_error(database, large.id, 1, "out_of_memory", "too large")
    with database.write() as session:
        session.execute(update(Job).values(available_at=now()))
    assert idle() == ["fast"], "the other is excluded"
    submit_job(input={"width": 64, "height": 64})
    assert idle() == ["fast", "new", "slow"], "each may take one of the two"


def test_workers_share_what_they_know_of_idle_ones(
    database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(redis_url=redis_url)
    asked: list[str] = []

    def ask(database: Database, model: str) -> list[IdleWorker]:
        asked.append(model)
        return idle_workers(database, model)

    monkeypatch.setattr("worker.runner.idle_workers.idle_workers", ask)
    monkeypatch.setattr("worker.runner.idle_workers.CACHE_SECONDS", 600.0)
    asking = [IdleWorkers(settings, database, "demo", f"busy{number}") for number in range(3)]
    assert all(each.any_idle() for each in asking) and asked == ["demo"]
    with Redis.from_url(redis_url) as connection:
        (key,) = connection.keys("*idle:demo")
        assert 600_000 < connection.pttl(key) <= 1_800_000
        connection.delete(RedisKeys(settings.redis_prefix).idle_workers_turn("demo"))  # The list is no longer fresh.
        assert all(IdleWorkers(settings, database, "demo", f"later{number}").any_idle() for number in range(3))
        assert asked == ["demo"] * 2, "one renews it, the others take it as it is"
        for damage in (b"[[1", b'{"a": 1}', b"[[]]", b'[["a", "b"]]', b"[" * 100_000, b'[["a", 1%s]]' % (b"0" * 400)):
            connection.set(key, damage)
            assert IdleWorkers(settings, database, "demo", "late").any_idle(), "who cannot read it asks the database"
        connection.delete(key)
        connection.lpush(key, "no answer")
        assert all(IdleWorkers(settings, database, "demo", f"last{number}").any_idle() for number in range(2))
    assert len(asked) == 9, "the first of them has put the list in its place"


def test_without_redis_each_worker_asks_the_database(database: Database) -> None:
    settings = Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert IdleWorkers(settings, database, "demo", "busy").any_idle()


def test_waiting_jobs_come_in_the_order_of_claims(database: Database, submit_job: Submit) -> None:
    plain, urgent, _ = submit_job(), submit_job(priority=9), submit_job(model="other")
    assert waiting_jobs(database, "demo", "slow", 5) == [urgent.id, plain.id]
    assert waiting_jobs(database, "demo", "slow", 1) == [urgent.id]


def test_a_worker_claims_only_what_fits_its_memory(database: Database, submit_job: Submit, claim: Claim) -> None:
    sizes = SizeLimit(pixels=1024 * 1024, guided=512 * 512)
    given = [(2048, 1.0), (1024, 2.0), (1024, 1.0), (512, 2.0)]
    jobs = [submit_job(input={"width": side, "height": side, "guidance_scale": scale}).id for side, scale in given]
    fitting = [jobs[2], jobs[3]]
    assert waiting_jobs(database, "demo", "slow", 9, sizes) == fitting
    assert waiting_jobs(database, "demo", "slow", 9) == jobs
    assert waiting_for(database, "slow", ["demo"], lambda _: sizes)["demo"].jobs == 2
    small = Claimant("slow", "slow-incarnation", 60.0, sizes)
    assert [job.id for job in claim_many(database, "demo", small, 9, [])] == fitting
    info = {
        "speed": {"alone_seconds_per_megapixel_step": 0.1},
        "max_pixels": sizes.pixels,
        "max_pixels_guided": sizes.guided,
    }
    report(database, "new", info)
    faster = [[row.name for row in faster_workers(database, "demo", "slow", 1.0, job)] for job in jobs]
    assert faster == [["fast"], ["fast"], ["new", "fast"], ["new", "fast"]]
    assert [claimed.id for _ in given if (claimed := claim("fast")) is not None] == jobs[:2]


def test_recent_means_tell_the_work_of_a_typical_job(database: Database, submit_job: Submit, claim: Claim) -> None:
    size = {"width": 1000, "height": 500, "seed": 1}
    for given in (size | {"num_inference_steps": 4, "num_images": 3}, size):
        submit_job(input=given)
        job = claim("fast")
        assert job is not None
        finish_succeeded(database, job.id, job.attempt, [], {})
    mean = recent_means(database)["demo"]
    assert mean.seconds >= 0 and mean.work == pytest.approx((6.0 + 0.5) / 2)


def test_waiting_jobs_tell_how_many_wait_and_their_work(database: Database, submit_job: Submit, claim: Claim) -> None:
    size = {"width": 1000, "height": 500, "seed": 1}
    for given in (size | {"num_inference_steps": 4, "num_images": 3}, size):
        submit_job(input=given)
    assert waiting_work(database, ["demo", "other"]) == {"demo": Waiting(2, (6.0 + 0.5) / 2)}
    claim("fast")
    assert waiting_work(database, ["demo"]) == {"demo": Waiting(1, 0.5)}
