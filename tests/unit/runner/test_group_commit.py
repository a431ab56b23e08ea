"""Group commit: requests that wait form one group, and an error of one does not fail the others."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from core.errors import Unavailable
from worker.runner.job_store import GroupCommit


class GatedAnswer:
    """Answers a request with its length; the first group waits for `gate`."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.started = threading.Event()
        self.gate = threading.Event()

    def __call__(self, requests: Sequence[str]) -> list[int]:
        self.groups.append(list(requests))
        self.started.set()
        assert self.gate.wait(120)
        if "away" in requests:
            raise Unavailable("The database does not answer.")
        if "poison" in requests:
            raise ValueError("poison")
        return [len(request) for request in requests]


def submit_behind(first: str, *others: str) -> tuple[GatedAnswer, list[Future[int]]]:
    """Submit `others` while the group of `first` runs."""
    answer = GatedAnswer()
    commit = GroupCommit[str, int]("test", answer)
    pool = ThreadPoolExecutor(len(others) + 1)
    futures = [pool.submit(commit.submit, first)]
    assert answer.started.wait(120)
    futures += [pool.submit(commit.submit, request) for request in others]
    while commit.waiting < len(others):
        threading.Event().wait(0.001)
    answer.gate.set()
    pool.shutdown()
    return answer, futures


def test_requests_that_arrive_during_a_group_form_the_next_one() -> None:
    answer, futures = submit_behind("a", "bb", "ccc", "dddd")
    assert [future.result() for future in futures] == [1, 2, 3, 4]
    assert [len(group) for group in answer.groups] == [1, 3]


def test_a_request_that_breaks_its_group_fails_alone() -> None:
    _, futures = submit_behind("a", "bb", "poison", "dddd")
    assert [futures[index].result() for index in (0, 1, 3)] == [1, 2, 4]
    with pytest.raises(ValueError, match="poison"):
        futures[2].result()


def test_an_outage_fails_the_whole_group_without_single_retries() -> None:
    answer, futures = submit_behind("a", "bb", "away")
    for future in futures[1:]:
        with pytest.raises(Unavailable):
            future.result()
    assert len(answer.groups) == 2


def test_in_a_crowd_requests_wait_for_each_other() -> None:
    answer = GatedAnswer()
    answer.gate.set()
    crowd = threading.Event()
    commit = GroupCommit[str, int]("test", answer, crowd.is_set)
    assert commit.submit("alone") == 5
    crowd.set()
    with ThreadPoolExecutor(8) as pool, commit._serving:  # The group cannot start before all are there.
        futures = [pool.submit(commit.submit, "x" * length) for length in range(8)]
        while commit.waiting < 8:
            threading.Event().wait(0.001)
    assert [future.result() for future in futures] == list(range(8))
    assert [len(group) for group in answer.groups] == [1, 8]
