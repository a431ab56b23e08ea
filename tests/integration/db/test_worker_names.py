"""A worker's name belongs to one process, by the database's clock, and a takeover costs no attempt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from db import workers
from db.database import Database
from db.jobs.read import attempts_of, get_job
from db.jobs.reap import FREE_RESTARTS
from db.sql import now
from db.tables import Worker
from tests.integration.db.conftest import Claim, Submit


def process(number: int) -> workers.Registration:
    return workers.Registration("w1", f"process-{number}", "demo", "cpu", capacity=1)


def set_row(database: Database, seconds_ago: float, state: str) -> None:
    with database.write() as session:
        session.execute(update(Worker).values(seen_at=now() - seconds_ago, state=state))


@pytest.mark.parametrize("state", ["loading", "ready", "blocked", "draining", "failed"])
def test_a_name_is_refused_while_its_worker_was_seen_lately(database: Database, state: str) -> None:
    workers.register(database, process(1))
    set_row(database, 5.0, state)
    with pytest.raises(workers.NameInUse):
        workers.register(database, process(2))
    assert workers.heartbeat(database, "w1", "process-1", state="ready") is not None
    set_row(database, 21.0, state)
    workers.register(database, process(2))
    assert workers.heartbeat(database, "w1", "process-1", state="ready") is None


def test_a_stopped_or_dead_worker_is_replaced_at_once(database: Database) -> None:
    workers.register(database, process(1))
    set_row(database, 0.0, "stopped")
    workers.register(database, process(2))
    workers.register(database, process(3), replaces={"process-1", "process-2"})
    with pytest.raises(workers.NameInUse):
        workers.register(database, process(4), replaces={"process-1", "process-2"})


def test_a_worker_that_starts_again_keeps_its_cold_start_until_it_has_measured_the_next(database: Database) -> None:
    workers.register(database, process(1))
    workers.heartbeat(database, "w1", "process-1", state="ready", info={"cold_start_seconds": 12.5, "model": "demo"})
    workers.register(database, process(2), replaces={"process-1"})
    assert [row.info for row in workers.all_workers(database)] == [{"cold_start_seconds": 12.5}]


def test_of_many_processes_that_start_together_one_gets_the_name(database: Database) -> None:
    def register(number: int) -> bool:
        try:
            workers.register(database, process(number))
        except workers.NameInUse:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(register, range(8))) == 1


def test_takeovers_cost_no_attempt_until_the_job_may_be_their_cause(
    database: Database, submit_job: Submit, claim: Claim
) -> None:
    job_id = submit_job(max_attempts=1).id
    for number in range(FREE_RESTARTS):
        assert claim("w1") is not None
        workers.register(database, process(number), replaces={"w1-incarnation"})
        assert get_job(database, job_id).status == "queued"
        set_row(database, 0.0, "stopped")
        with database.write() as session:
            session.execute(update(Worker).values(incarnation="w1-incarnation"))
    assert claim("w1") is not None
    workers.register(database, process(9), replaces={"w1-incarnation"})
    assert get_job(database, job_id).status == "held"
    codes = [attempt.error_code for attempt in attempts_of(database, job_id)]
    assert codes == ["worker_restarted"] * FREE_RESTARTS + ["worker_lost"]
