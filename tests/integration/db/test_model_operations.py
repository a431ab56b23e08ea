"""Operations on models' weights: one per model, leases, fencing, cancel, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from core.errors import Conflict, NotFound
from core.ids import new_id
from core.model_operations import OperationKind, OperationState
from db import model_operations
from db.database import Database
from db.model_operations import MOST_ATTEMPTS, Report, claim, get_operation, give_back, report, request_cancel, start
from db.sql import now
from db.tables import ModelOperation

PULL, VERIFY = OperationKind.PULL, OperationKind.VERIFY


def pull(database: Database, model: str = "sd-turbo") -> ModelOperation:
    return start(database, PULL, model, "ann").operation


def claimed(database: Database, executor: str = "box-1") -> ModelOperation:
    found = claim(database, executor, 60.0)
    assert found is not None
    return found


def lose(database: Database) -> None:
    """Let the leases of all running operations expire."""
    with database.write() as session:
        session.execute(update(ModelOperation).where(ModelOperation.state == "running").values(lease_until=now() - 1))


def test_an_operation_runs_from_start_to_result(database: Database) -> None:
    operation = pull(database)
    assert (operation.state, operation.revision, operation.requested_by) == ("queued", 1, "ann")
    held = claimed(database)
    assert (held.id, held.state, held.attempt, held.executor) == (operation.id, "running", 1, "box-1")
    assert claim(database, "box-2", 60.0) is None
    seen = report(database, held, Report("downloading", 5_000_000_000, 12_000_000_000, "unet/a.safetensors"), 60.0)
    assert seen is not None
    assert (seen.stage, seen.done_bytes, seen.total_bytes) == ("downloading", 5_000_000_000, 12_000_000_000)
    assert seen.revision > held.revision
    renewed = report(database, held, None, 60.0)
    assert renewed is not None
    assert (renewed.revision, renewed.stage) == (seen.revision, "downloading")
    done = model_operations.succeed(database, held, {"files": []})
    assert done is not None
    assert (done.state, done.result, done.lease_until) == ("succeeded", {"files": []}, None)
    assert done.ended_at is not None


def test_a_model_has_one_operation_at_a_time(database: Database) -> None:
    first = start(database, PULL, "sd-turbo", "ann")
    again = start(database, PULL, "sd-turbo", "bob")
    assert first.created
    assert not again.created
    assert again.operation.id == first.operation.id
    with pytest.raises(Conflict) as caught:
        start(database, VERIFY, "sd-turbo", "ann")
    assert caught.value.code == "model_busy"
    assert first.operation.id in caught.value.message
    assert start(database, VERIFY, "sdxl", "ann").created
    request_cancel(database, first.operation.id)
    assert start(database, VERIFY, "sd-turbo", "ann").created


def test_of_many_callers_one_starts_and_of_many_executors_one_claims(database: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        started = list(threads.map(lambda _: start(database, PULL, "sd-turbo", "ann"), range(8)))
        held = list(threads.map(lambda number: claim(database, f"box-{number}", 60.0), range(8)))
    assert sum(each.created for each in started) == 1
    assert sum(each is not None for each in held) == 1


def test_a_lost_executor_is_replaced_and_can_change_nothing_any_more(database: Database) -> None:
    pull(database)
    lost = claimed(database, "box-1")
    lose(database)
    held = claimed(database, "box-2")
    assert (held.id, held.attempt, held.executor) == (lost.id, 2, "box-2")
    assert report(database, lost, Report("downloading", 1, 2), 60.0) is None
    assert model_operations.succeed(database, lost, {}) is None
    assert model_operations.fail(database, lost, "x", "x") is None
    assert give_back(database, lost) is None
    assert get_operation(database, held.id).state == "running"


def test_an_operation_that_loses_every_executor_fails(database: Database) -> None:
    operation = pull(database)
    for _ in range(MOST_ATTEMPTS):
        claimed(database)
        lose(database)
    assert claim(database, "box-1", 60.0) is None
    failed = get_operation(database, operation.id)
    assert (failed.state, failed.error_code) == ("failed", "executor_lost")
    assert start(database, PULL, "sd-turbo", "ann").created


def test_giving_back_costs_no_attempt_and_may_delay_the_next_claim(database: Database) -> None:
    pull(database)
    for _ in range(MOST_ATTEMPTS + 1):
        assert give_back(database, claimed(database)) is not None
    assert claimed(database).attempt == 1
    held = get_operation(database, pull(database).id)
    waiting = give_back(database, held, "Another pull is running.", after_seconds=60.0)
    assert waiting is not None
    assert (waiting.state, waiting.detail) == ("queued", "Another pull is running.")
    assert claim(database, "box-1", 60.0) is None


def test_a_cancel_ends_a_waiting_operation_and_flags_a_running_one(database: Database) -> None:
    waiting = pull(database)
    assert request_cancel(database, waiting.id).state == "canceled"
    assert claim(database, "box-1", 60.0) is None
    running = pull(database)
    held = claimed(database)
    flagged = request_cancel(database, running.id)
    assert (flagged.state, flagged.cancel_requested_at is None) == ("running", False)
    assert request_cancel(database, running.id).revision == flagged.revision
    seen = report(database, held, None, 60.0)
    assert seen is not None
    assert seen.cancel_requested_at is not None
    canceled = model_operations.set_canceled(database, held)
    assert canceled is not None
    assert canceled.state == "canceled"
    assert request_cancel(database, running.id).revision == canceled.revision
    with pytest.raises(NotFound):
        request_cancel(database, new_id())


def test_a_flagged_operation_of_a_lost_executor_is_canceled(database: Database) -> None:
    operation = pull(database)
    claimed(database)
    request_cancel(database, operation.id)
    lose(database)
    assert claim(database, "box-2", 60.0) is None
    assert get_operation(database, operation.id).state == OperationState.CANCELED


def test_lists_are_newest_first_and_old_operations_are_deleted(database: Database) -> None:
    old, other = pull(database), pull(database, "sdxl")
    assert [each.id for each in model_operations.list_operations(database, None, 10)] == [other.id, old.id]
    assert [each.id for each in model_operations.list_operations(database, "sd-turbo", 10)] == [old.id]
    request_cancel(database, old.id)
    with database.write() as session:
        session.execute(update(ModelOperation).where(ModelOperation.id == old.id).values(ended_at=1.0))
    pull(database, "flux2-klein")
    with pytest.raises(NotFound):
        get_operation(database, old.id)
