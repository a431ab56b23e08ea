"""Submitting jobs: limits, idempotency, hints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Barrier

import pytest

from core.errors import Gone, InvalidInput, NotFound, TooManyRequests
from db import hints, retention
from db.batches import NewBatch, submit_batch
from db.database import Database
from db.jobs.cancel import request_cancel
from db.jobs.read import events_of, get_job, list_jobs, queue_position
from db.jobs.submit import Idempotency, NewJob, Submission, Submitted, submit, submit_all
from db.tables import Job
from tests.integration.db.conftest import Claim, Submit

NEW = NewJob(owner="ann", model="demo", prompt="a cat", input={"seed": 1})


def answer(job: Job) -> dict[str, object]:
    return {"id": job.id, "status": job.status}


def test_concurrent_submits_with_one_key_create_one_job_and_one_answer(database: Database) -> None:
    key = Idempotency("key-1", "hash", answer)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: submit(database, NEW, key), range(8)))
    assert len({result.job.id for result in results}) == 1
    assert sum(not result.replayed for result in results) == 1
    assert len({str(result.answer) for result in results}) == 1
    assert len(list_jobs(database)) == 1


def test_a_replay_returns_the_first_answer_even_after_the_job_changed(database: Database) -> None:
    first = submit(database, NEW, Idempotency("key-1", "hash", answer))
    request_cancel(database, first.job.id)
    again = submit(database, NEW, Idempotency("key-1", "hash", answer))
    assert again.replayed and again.answer == first.answer == {"id": first.job.id, "status": "queued"}


def test_a_key_with_another_body_is_refused_and_stores_nothing(database: Database) -> None:
    submit(database, NEW, Idempotency("key-1", "hash", answer))
    with pytest.raises(InvalidInput) as refusal:
        submit(database, NEW, Idempotency("key-1", "other", answer))
    assert refusal.value.code == "idempotency_mismatch"
    assert len(list_jobs(database)) == 1


def test_keys_of_different_owners_are_independent(database: Database) -> None:
    first = submit(database, NEW, Idempotency("key-1", "hash", answer))
    second = submit(database, replace(NEW, owner="bob"), Idempotency("key-1", "other", answer))
    assert first.job.id != second.job.id


def test_parallel_submits_and_batches_do_not_exceed_the_limit(database: Database) -> None:
    limited = replace(NEW, max_queued=5)
    batch = NewBatch("ann", {}, [(limited, {}), (limited, {})])
    start = Barrier(8)

    def one(number: int) -> int:
        start.wait(120)
        accepted = 0
        for round_ in range(4):
            with suppress(TooManyRequests):
                if number % 4 == 3:
                    submit_batch(database, batch)
                    accepted += 2
                elif number % 4 == 2:
                    keyed = Submission(limited, Idempotency(f"{number}-{round_}", "hash", answer))
                    accepted += sum(isinstance(each, Submitted) for each in submit_all(database, [keyed]))
                elif number % 4 == 1:
                    accepted += isinstance(submit_all(database, [Submission(limited)])[0], Submitted)
                else:
                    submit(database, limited)
                    accepted += 1
        return accepted

    with ThreadPoolExecutor(8) as pool:
        accepted = sum(pool.map(one, range(8)))
    assert accepted == len(list_jobs(database)) == 5


def test_a_job_over_the_limit_is_refused_and_its_key_not_stored(database: Database) -> None:
    limited = replace(NEW, max_queued=2)
    submit(database, limited), submit(database, limited)
    key = Idempotency("key-1", "hash", answer)
    with pytest.raises(TooManyRequests) as refusal:
        submit(database, limited, key)
    assert refusal.value.retry_after > 0
    submit(database, replace(limited, owner="bob"))
    request_cancel(database, list_jobs(database, owner="ann")[0].id)
    assert not submit(database, limited, key).replayed


@pytest.mark.parametrize("limit", [0, 2])
def test_a_job_alone_is_stored_like_those_of_groups(database: Database, limit: int) -> None:
    new = Submission(replace(NEW, window=1, deadline_seconds=60.0, max_queued=limit))
    first, second = (submit_all(database, [new])[0] for _ in range(2))
    assert isinstance(first, Submitted) and isinstance(second, Submitted)
    assert [(each.hint, each.job.turn) for each in (first, second)] == [(True, 0), (False, 1)]
    for each in (first, second):
        stored = get_job(database, each.job.id)
        columns = Job.__table__.columns.keys()
        assert {name: getattr(each.job, name) for name in columns} == {name: getattr(stored, name) for name in columns}
        assert stored.deadline_at == pytest.approx(stored.created_at + 60.0)
        (event,) = events_of(database, stored.id)
        assert (event.revision, event.from_status, event.to_status, event.attempt) == (1, None, "queued", 0)
    assert isinstance(submit_all(database, [new])[0], TooManyRequests) == bool(limit)


def test_a_group_stores_what_single_submits_would_and_refuses_only_what_is_wrong(database: Database) -> None:
    limited, key = replace(NEW, max_queued=2, window=2), Idempotency("key-1", "hash", answer)
    first = submit(database, limited, key)
    group = [
        Submission(limited, Idempotency("key-1", "other", answer)),
        Submission(limited, key),
        Submission(replace(NEW, owner="bob", window=2, deadline_seconds=60.0)),
        Submission(limited),
        Submission(limited, Idempotency("key-2", "hash", answer)),
        Submission(replace(NEW, owner="bob", window=2), Idempotency("key-1", "hash", answer)),
    ]
    found = submit_all(database, group)
    assert [getattr(each, "code", None) for each in found] == [
        *("idempotency_mismatch", None, None, None, "queue_full", None)
    ]
    replay, bobs, anns, keyed = (each for each in found if isinstance(each, Submitted))
    assert replay.replayed and replay.answer == first.answer
    assert [each.hint for each in (bobs, anns, keyed)] == [True, False, False]
    assert {(each.job.owner, each.job.turn) for each in (bobs, anns, keyed)} == {("bob", 0), ("bob", 1), ("ann", 1)}
    for each in (bobs, anns, keyed):
        stored = get_job(database, each.job.id)
        columns = Job.__table__.columns.keys()
        assert {name: getattr(each.job, name) for name in columns} == {name: getattr(stored, name) for name in columns}
        assert [event.to_status for event in events_of(database, stored.id)] == ["queued"]
    request_cancel(database, anns.job.id)
    retried = submit(database, limited, Idempotency("key-2", "hash", answer))
    assert not retried.replayed, "the key of the refused job was not stored"


def test_only_a_window_of_jobs_gets_hints(database: Database) -> None:
    hinted = [submit(database, replace(NEW, window=3)).hint for _ in range(5)]
    assert hinted == [True, True, True, False, False]


def test_the_window_is_refilled_in_fair_order(database: Database, submit_job: Submit, claim: Claim) -> None:
    submit_job(), submit_job()
    bobs = submit_job(owner="bob")
    urgent = submit_job(priority=9)
    assert [job.id for job in hints.take_window(database, "demo", 1)] == [urgent.id]
    taken = hints.take_window(database, "demo", 3)
    assert len(taken) == 2 and bobs.id in {job.id for job in taken}
    assert hints.take_window(database, "demo", 3) == []
    assert hints.models_waiting(database) == ["demo"]


def test_a_hint_that_was_used_for_another_job_is_replaced(database: Database, submit_job: Submit, claim: Claim) -> None:
    first = submit_job(window=1)
    urgent = submit_job(priority=9)
    taken = claim(hint=first.id)
    assert taken is not None and taken.id == urgent.id
    assert get_job(database, first.id).hinted_at is None, "its token was used, and it needs a new one"


def test_a_job_keeps_its_hint_mark_when_the_claimed_job_has_a_token_of_its_own(
    database: Database, submit_job: Submit, claim: Claim
) -> None:
    first, urgent = submit_job(window=2), submit_job(priority=9, window=2)
    taken = claim(hint=first.id)
    assert taken is not None and taken.id == urgent.id
    assert get_job(database, first.id).hinted_at is not None


def test_hint_marks_are_cleared_only_when_stale(database: Database, submit_job: Submit) -> None:
    submit_job(window=5)
    assert hints.clear_stale_hints(database, "demo", older_than_seconds=3600) == 0
    assert hints.clear_stale_hints(database, "demo", older_than_seconds=-1) == 1
    assert len(hints.take_window(database, "demo", 5)) == 1
    assert hints.clear_all_hints(database) == 1


def test_the_queue_position_counts_jobs_that_are_claimed_before(database: Database, submit_job: Submit) -> None:
    first, second = submit_job(), submit_job()
    urgent = submit_job(priority=9)
    assert [queue_position(database, job) for job in (urgent, first, second)] == [1, 2, 3]


def test_owners_see_only_their_own_jobs(database: Database, submit_job: Submit) -> None:
    job = submit_job(owner="ann")
    with pytest.raises(NotFound):
        get_job(database, job.id, owner="bob")
    assert list_jobs(database, owner="bob") == []


def test_a_deleted_job_raises_gone_for_its_owner_only(database: Database, submit_job: Submit) -> None:
    job = submit_job()
    request_cancel(database, job.id)
    assert retention.delete_job(database, job.id).jobs == 1
    with pytest.raises(Gone):
        get_job(database, job.id, owner="ann")
    with pytest.raises(NotFound):
        get_job(database, job.id, owner="bob")
    with pytest.raises(NotFound):
        get_job(database, "00000000-0000-7000-8000-000000000000")
