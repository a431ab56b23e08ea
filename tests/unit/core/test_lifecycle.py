"""The transition table and the retry rules."""

from __future__ import annotations

import pytest

from core.ids import is_id, new_id
from core.lifecycle import SETTLED, TERMINAL, TRANSITIONS, IllegalTransition, JobStatus, check_transition
from core.retries import BACKOFF_CAP_SECONDS, RULES, backoff_seconds, rule_for


def test_no_transition_leaves_a_terminal_state() -> None:
    assert {before for before, _ in TRANSITIONS} & TERMINAL == set()


def test_every_state_can_be_reached_and_every_state_that_is_not_terminal_left() -> None:
    assert {after for _, after in TRANSITIONS} == set(JobStatus)
    assert {before for before, _ in TRANSITIONS if before} == set(JobStatus) - TERMINAL
    assert {JobStatus.HELD} == SETTLED - TERMINAL


def test_a_change_outside_the_table_is_refused() -> None:
    with pytest.raises(IllegalTransition):
        check_transition(JobStatus.SUCCEEDED, JobStatus.QUEUED)


def test_backoff_doubles_up_to_a_cap() -> None:
    rule = RULES["render_failed"]
    assert [backoff_seconds(rule, attempt) for attempt in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert backoff_seconds(rule, 50) == BACKOFF_CAP_SECONDS
    assert backoff_seconds(RULES["worker_lost"], 3) == 0.0


@pytest.mark.parametrize("code", ["storage_unavailable", "model_unavailable", "worker_drained", "worker_restarted"])
def test_a_fault_of_the_surroundings_costs_no_attempt_and_does_not_back_off(code: str) -> None:
    rule = rule_for(code)
    assert (rule.retry, rule.other_worker, rule.costs_attempt) == (True, False, False)
    assert backoff_seconds(rule, 50) == rule.base_seconds


def test_unknown_codes_are_retried_like_render_failed() -> None:
    assert rule_for("unlisted") is RULES["render_failed"]


def test_ids_are_unique_and_recognised() -> None:
    ids = [new_id() for _ in range(3)]
    assert len(set(ids)) == 3 and all(is_id(value) for value in ids)
    assert not is_id("../../etc/passwd")
