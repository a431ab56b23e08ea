"""Calls of many threads carried out together: whatever has come in while the last round ran goes into the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from core.errors import Unavailable

Q = TypeVar("Q")
A = TypeVar("A")

MOST_AT_ONCE = 64


class Together(Generic[Q, A]):
    """A thread that answers questions in rounds, as databases commit in groups: one transaction serves all of a round.

    A lone question is answered at once. `answer` gets the questions of a round and returns as many answers in the same
    order, or raises with nothing done.
    """

    def __init__(self, name: str, answer: Callable[[Sequence[Q]], Sequence[A]]) -> None:
        self._answer = answer
        self._asked: queue.SimpleQueue[tuple[Q, Future[A]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def ask(self, question: Q) -> A:
        """Blocks until the round of this question is done; raises what it raised."""
        future: Future[A] = Future()
        self._asked.put((question, future))
        return future.result()

    @property
    def waiting(self) -> int:
        """Questions that no round has taken up yet."""
        return self._asked.qsize()

    def _run(self) -> None:
        while True:
            self._serve(self._round())

    def _round(self) -> list[tuple[Q, Future[A]]]:
        taken = [self._asked.get()]
        while len(taken) < MOST_AT_ONCE:
            try:
                taken.append(self._asked.get_nowait())
            except queue.Empty:
                break
        return taken

    def _serve(self, taken: Sequence[tuple[Q, Future[A]]]) -> None:
        try:
            answers = self._answer([question for question, _ in taken])
        except BaseException as error:  # noqa: BLE001 -- it is the askers' to handle
            self._fail(taken, error)
            return
        for (_, future), answer in zip(taken, answers, strict=True):
            future.set_result(answer)

    def _fail(self, taken: Sequence[tuple[Q, Future[A]]], error: BaseException) -> None:
        """While the database is away nobody fares better alone; whatever else it is may be one question's fault."""
        if len(taken) == 1 or isinstance(error, Unavailable):
            for _, future in taken:
                future.set_exception(error)
            return
        for each in taken:
            self._serve([each])
