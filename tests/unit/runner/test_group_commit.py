"""Rounds of questions: what waits goes together, and no question pays for another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from core.errors import Unavailable
from worker.runner.job_store import GroupCommit


class Halting:
    """Answers a question with its length; the first round waits until it is let go."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []
        self.began = threading.Event()
        self.may_go = threading.Event()

    def __call__(self, questions: Sequence[str]) -> list[int]:
        self.rounds.append(list(questions))
        self.began.set()
        assert self.may_go.wait(20)
        if "away" in questions:
            raise Unavailable("The database does not answer.")
        if "poison" in questions:
            raise ValueError("poison")
        return [len(question) for question in questions]


def ask_behind(first: str, *others: str) -> tuple[Halting, list[Future[int]]]:
    """`others` are asked while the round of `first` runs."""
    answer = Halting()
    together = GroupCommit[str, int]("test", answer)
    pool = ThreadPoolExecutor(len(others) + 1)
    futures = [pool.submit(together.submit, first)]
    assert answer.began.wait(20)
    futures += [pool.submit(together.submit, question) for question in others]
    while together.waiting < len(others):
        threading.Event().wait(0.001)
    answer.may_go.set()
    pool.shutdown()
    return answer, futures


def test_what_comes_in_during_a_round_makes_the_next_one() -> None:
    answer, futures = ask_behind("a", "bb", "ccc", "dddd")
    assert [future.result() for future in futures] == [1, 2, 3, 4]
    assert [len(questions) for questions in answer.rounds] == [1, 3]


def test_a_question_that_breaks_its_round_fails_alone() -> None:
    _, futures = ask_behind("a", "bb", "poison", "dddd")
    assert [futures[index].result() for index in (0, 1, 3)] == [1, 2, 4]
    with pytest.raises(ValueError, match="poison"):
        futures[2].result()


def test_an_outage_is_everybodys_and_is_not_tried_one_by_one() -> None:
    answer, futures = ask_behind("a", "bb", "away")
    for future in futures[1:]:
        with pytest.raises(Unavailable):
            future.result()
    assert len(answer.rounds) == 2
