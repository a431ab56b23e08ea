"""Which model a worker loads next, case by case and over simulated days."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from worker.runner.model_choice import Candidate, choose, longest_wait

LONG_AGO = 1000.0


def chosen(
    *candidates: Candidate, loaded: str | None = "a", loaded_for: float = LONG_AGO, swap_after: float = 30.0
) -> str | None:
    choice = choose(candidates, loaded, loaded_for, swap_after)
    return None if choice is None else choice.model


def a(waiting: int = 0, oldest: float = 0.0, **fields: object) -> Candidate:
    return Candidate("a", 10.0, waiting, oldest, **fields)  # type: ignore[arg-type]


def b(waiting: int = 0, oldest: float = 0.0, **fields: object) -> Candidate:
    return Candidate("b", 10.0, waiting, oldest, **fields)  # type: ignore[arg-type]


def test_nothing_changes_while_nothing_waits() -> None:
    assert chosen(a(), b()) is None
    assert chosen(a(), b(), loaded=None) is None


def test_an_idle_worker_loads_the_other_model_at_once() -> None:
    assert chosen(a(), b(1, 0.0)) == "b"


def test_work_for_the_loaded_model_comes_first_until_the_other_is_overdue() -> None:
    assert chosen(a(5, 1.0), b(1, 29.0)) is None
    assert chosen(a(5, 1.0), b(1, 31.0)) == "b"


def test_a_model_that_was_just_loaded_stays() -> None:
    assert chosen(a(), b(1, 5.0), loaded_for=2.9) is None
    assert chosen(a(), b(1, 5.0), loaded_for=3.0) == "b", "an idle worker does not wait for as long as a load takes"
    assert chosen(a(), b(1, 0.0), loaded_for=0.0, swap_after=0.0) == "b"
    assert chosen(a(5, 1.0), b(1, 500.0), loaded_for=39.0) is None
    assert chosen(a(5, 1.0), b(1, 500.0), loaded_for=40.0) == "b"


def test_without_a_loaded_model_the_longest_wait_less_the_load_counts() -> None:
    slow = Candidate("slow", 300.0, 1, 50.0)
    assert chosen(slow, b(1, 10.0), loaded=None) == "b"
    assert chosen(Candidate("slow", 300.0, 1, 400.0), b(1, 10.0), loaded=None) == "slow"


def test_workers_that_have_the_model_come_first() -> None:
    assert chosen(a(), b(1, 0.0, idle_elsewhere=1, warm_elsewhere=1)) is None
    assert chosen(a(), b(2, 0.0, idle_elsewhere=1)) == "b", "two jobs keep two workers busy"
    assert chosen(a(), b(1, 5.0, warm_elsewhere=1)) is None, "the busy one takes it sooner"
    assert chosen(a(), b(1, 11.0, warm_elsewhere=1)) == "b"
    assert chosen(a(), b(1, 31.0, idle_elsewhere=1, warm_elsewhere=1)) == "b", "nobody took it"


def test_a_model_that_failed_to_load_is_left_out() -> None:
    assert chosen(a(), b(1, 500.0, available=False)) is None


def test_an_administrators_request_comes_first() -> None:
    assert chosen(a(9, 9.0), b(requested=True), loaded_for=0.0) == "b"
    assert chosen(a(requested=True), b(1, 500.0)) is None


@dataclass
class Simulation:
    """One worker, two models; jobs take `job_seconds` each, one at a time."""

    arrivals: list[tuple[float, str]]
    load_seconds: float
    job_seconds: float
    swap_after: float
    waits: list[float] = field(default_factory=list)
    loading: float = 0.0
    swaps: int = 0

    def run(self) -> float:
        """Run until every job is done, and return the time."""
        now, loaded, loaded_at = 0.0, "a", 0.0
        ahead = list(self.arrivals)
        queues: dict[str, list[float]] = {"a": [], "b": []}
        while ahead or any(queues.values()):
            while ahead and ahead[0][0] <= now:
                at, model = ahead.pop(0)
                queues[model].append(at)
            rows = [
                Candidate(model, self.load_seconds, len(queue), now - queue[0] if queue else 0.0)
                for model, queue in queues.items()
            ]
            choice = choose(rows, loaded, now - loaded_at, self.swap_after)
            if choice is not None:
                self.loading, self.swaps = self.loading + self.load_seconds, self.swaps + 1
                now += self.load_seconds
                loaded, loaded_at = choice.model, now
            elif queues[loaded]:
                self.waits.append(now - queues[loaded].pop(0))
                now += self.job_seconds
            else:
                now += 0.5
        return now


def alternating(every: float, seconds: float = 3600.0) -> list[tuple[float, str]]:
    return [(number * every, "ab"[number % 2]) for number in range(int(seconds / every))]


@pytest.mark.parametrize("load", [0.5, 5.0, 20.0, 60.0])
@pytest.mark.parametrize("every", [2.0, 7.0, 45.0, 200.0])
def test_alternating_jobs_wait_no_longer_than_the_bound(load: float, every: float) -> None:
    simulation = Simulation(alternating(every), load, job_seconds=1.0, swap_after=30.0)
    seconds = simulation.run()
    assert len(simulation.waits) == len(simulation.arrivals)
    assert seconds <= simulation.arrivals[-1][0] + 2 * (load + 30.0), "the worker keeps up"
    # A turn's jobs are done within the turn: less work arrives than a worker can do.
    assert max(simulation.waits) <= longest_wait(load, 1.0, 30.0) + load + 1.0


def test_loading_takes_a_fifth_at_most_while_both_models_have_jobs() -> None:
    full = [(0.0, model) for model in "ab" for _ in range(600)]
    simulation = Simulation(sorted(full), load_seconds=20.0, job_seconds=1.0, swap_after=30.0)
    seconds = simulation.run()
    assert simulation.swaps > 4
    assert simulation.loading <= seconds / 5
