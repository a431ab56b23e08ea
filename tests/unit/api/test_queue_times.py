"""When queued jobs end, from the speeds of the workers that claim them."""

from __future__ import annotations

from typing import Any

import pytest

from api.overview import Overview
from api.queue_times import QueueTimes, likely_worker, queue_times
from api.views.queue import queue_place
from core.work import work_of
from db.jobs.read import Snapshot
from db.prepared import detached
from db.statistics import RecentMean, Waiting
from db.tables import Job, Worker, WorkerModel

JOB = {"width": 1000, "height": 1000, "num_inference_steps": 4, "num_images": 1}


def worker(name: str, seconds: float | None, *, capacity: int = 1, **fields: object) -> Worker:
    """Return a row of a ready worker that renders a megapixel step in so many seconds."""
    info: dict[str, Any] = {"model": "demo"}
    if seconds is not None:
        info["speed"] = {"images": 5, "seconds_per_megapixel_step": seconds, "alone_seconds_per_megapixel_step": seconds}
    row = {"name": name, "model": "demo", "state": "ready", "capacity": capacity, "info": info}
    held = dict.fromkeys(("paused_at", "drain_requested_at", "quarantined_until"))
    return detached(Worker, {**row, **held, **fields})


def times(
    *workers: Worker,
    running: dict[str, int] | None = None,
    recent: RecentMean | None = None,
    waiting: Waiting | None = None,
) -> QueueTimes | None:
    models = {
        each.name: [detached(WorkerModel, {"model": "demo", "state": "loaded", "load_seconds": 3.0})] for each in workers
    }
    overview = Overview(
        workers, frozenset(each.name for each in workers), models, running or {}, {"demo": waiting} if waiting else {}
    )
    return queue_times("demo", overview, recent, JOB)


def end(position: int, found: QueueTimes | None) -> float:
    assert found is not None
    return found.until_end(position, work_of(JOB))


def test_ten_jobs_before_two_workers_end_at_their_combined_rate() -> None:
    both = times(worker("fast", 0.25), worker("slow", 1.0))  # A job takes 1 s and 4 s.
    assert end(10, both) == pytest.approx(8.0)
    assert end(1, both) == pytest.approx(1.0), "a lone job goes to the fast one"
    assert end(10, times(worker("fast", 0.25))) == pytest.approx(10.0)
    assert end(10, times(worker("slow", 1.0))) == pytest.approx(40.0)


def test_workers_on_which_the_job_does_not_fit_do_not_count() -> None:
    small = worker("fast", 0.25)
    small.info["max_pixels"] = small.info["max_pixels_guided"] = 512 * 512
    assert end(2, times(small, worker("slow", 1.0))) == pytest.approx(8.0)


def reason(*workers: Worker, excluded: dict[str, str] | None = None) -> str:
    """Return why the next job waits, after checking that it names those workers as capable that it does not speak of."""
    job = detached(Job, {"id": "j", "status": "queued", "attempt": 1, "model": "demo", "available_at": 0.0, "input": JOB})
    snapshot = Snapshot(job, position=1, excluded=excluded or {})
    place = queue_place(snapshot, Overview(workers, frozenset(each.name for each in workers)), None)
    assert place is not None
    assert bool(place.capable_workers) == (place.reason == "It is next." or "being loaded" in place.reason)
    assert all(name not in place.reason or "being loaded" in place.reason for name in place.capable_workers)
    return place.reason


def small(name: str, paused_at: float | None = None) -> Worker:
    found = worker(name, 0.25, paused_at=paused_at)
    found.info["max_pixels"] = found.info["max_pixels_guided"] = 512 * 512
    return found


def test_a_job_says_that_it_fits_nowhere_or_that_all_workers_are_in_quarantine() -> None:
    assert reason(small("small")) == "1000x1000 needs more memory than small has; it waits for a larger worker."
    assert reason(small("small"), worker("large", 1.0)) == "It is next."
    held = worker("bad", 1.0, quarantined_until=1.0, quarantine_reason="3 different jobs in a row failed here.")
    assert reason(held) == (
        "Every worker of this model is in quarantine. bad: 3 different jobs in a row failed here. "
        "End that with `imagefarm workers resume NAME`, or POST /v1/workers/NAME/resume."
    )
    assert reason(worker("a", 1.0, paused_at=1.0)) == (
        "Every worker of this model is paused: resume one with `imagefarm workers resume NAME`, "
        "or POST /v1/workers/NAME/resume."
    )


def test_a_job_says_after_which_errors_its_workers_are_excluded() -> None:
    a, b = worker("a", 1.0), worker("b", 1.0)
    assert reason(a, b, excluded={"a": "out_of_memory", "b": "safety_hook_failed", "c": "out_of_memory"}) == (
        "Every worker of this model is excluded from it after an error: a (out_of_memory), b (safety_hook_failed). "
        "It is held unless another starts."
    )
    assert reason(a, b, excluded={"a": "out_of_memory"}) == "It is next."
    loading = worker("b", 1.0, state="loading")
    assert reason(a, loading, excluded={"a": "out_of_memory"}) == "The model is being loaded by b."


def test_a_job_says_what_keeps_each_of_its_workers_from_it() -> None:
    held_back = [
        worker("tried", 1.0),
        worker("failed", 1.0),
        small("small", paused_at=1.0),
        worker("paused", 1.0, paused_at=1.0, quarantined_until=1.0),
        worker("leaving", 1.0, drain_requested_at=1.0),
        worker("bad", 1.0, quarantined_until=1.0),
        worker("waiting", 1.0, state="blocked", message="Other processes hold the GPU's memory."),
    ]
    assert reason(*held_back, excluded={"tried": "out_of_memory", "failed": "render_failed"}) == (
        "No worker of this model can take it now: tried (excluded after out_of_memory), "
        "failed (excluded for a minute after render_failed), small (too little memory for 1000x1000), paused (paused), "
        "leaving (about to stop), bad (in quarantine), waiting (Other processes hold the GPU's memory)."
    )
    assert reason(worker("a", 1.0), excluded={"a": "render_failed"}) == (
        "No worker of this model can take it now: a (excluded for a minute after render_failed)."
    )


def test_workers_that_are_excluded_from_a_job_do_not_count_for_its_end() -> None:
    workers = [worker("fast", 0.25), worker("slow", 1.0)]
    overview = Overview(workers, frozenset(("fast", "slow")))
    assert end(1, queue_times("demo", overview, None, JOB, {"fast"})) == pytest.approx(4.0)
    assert queue_times("demo", overview, None, JOB, {"fast", "slow"}) is None


def test_jobs_that_run_count_half() -> None:
    found = times(worker("fast", 0.25), worker("slow", 1.0), running={"fast": 1, "slow": 1})
    assert end(1, found) == pytest.approx(0.5 + 1.0)
    assert found is not None and found.until_start(0) == pytest.approx(1 / 1.25)


def test_a_slow_worker_takes_its_share_of_a_long_queue_in_turn() -> None:
    workers = [worker("a", 0.75), worker("b", 0.75), worker("slow", 2.25)]  # A job takes 3 s, and 9 s on the slow one.
    running = {each.name: 1 for each in workers[:2]}
    recent = RecentMean(seconds=99.0, work=100.0)
    found = times(*workers, running=running, recent=recent, waiting=Waiting(10, work_of(JOB)))
    assert [end(position, found) for position in (1, 2, 3, 6, 7)] == pytest.approx([9.0, 4.5, 4.5, 10.5, 10.5])
    held, many = dict.fromkeys(("a", "b", "slow"), 1), {"demo": Waiting(20, work_of(JOB))}
    busy = queue_times("demo", Overview(workers, frozenset(held), {}, held, many, {"slow": 1.0}), None, JOB)
    assert [end(6, busy), end(7, busy)] == pytest.approx([10.5, 8.0 + 9.0]), "the slow one has run for 1 s"
    assert end(1, times(*workers)) == pytest.approx(3.0), "a lone job goes to a fast one"
    assert end(300, times(*workers)) == pytest.approx(300 * 4 / (2 / 0.75 + 1 / 2.25)), "many are divided"


def test_a_job_starts_at_once_where_a_worker_can_hold_it() -> None:
    found = times(worker("a", 1.0, capacity=3), running={"a": 1})
    assert found is not None
    assert found.until_start(1) == 0 and found.until_start(2) == pytest.approx(2.5 * 4)


@pytest.mark.parametrize(
    "fields", [{"paused_at": 1.0}, {"drain_requested_at": 1.0}, {"quarantined_until": 1.0}, {"state": "blocked"}]
)
def test_workers_that_claim_nothing_do_not_count(fields: dict[str, Any]) -> None:
    assert end(2, times(worker("fast", 0.25, **fields), worker("slow", 1.0))) == pytest.approx(8.0)
    assert times(worker("fast", 0.25, **fields)) is None


def test_a_worker_that_was_not_measured_is_taken_to_be_like_the_others_or_like_recent_jobs() -> None:
    assert end(10, times(worker("known", 0.25), worker("new", None))) == pytest.approx(5.0)
    assert times(worker("new", None)) is None
    recent = RecentMean(seconds=2.0, work=8.0)  # Jobs of twice the size.
    assert end(1, times(worker("new", None, capacity=2), recent=recent)) == pytest.approx(1.0)
    assert end(5, times(worker("new", None, capacity=2), recent=recent)) == pytest.approx((4 * 8 + 4) * 0.25 / 2)


def test_jobs_before_have_the_size_of_recent_ones() -> None:
    assert end(3, times(worker("a", 1.0), recent=RecentMean(99.0, work=10.0))) == pytest.approx(24.0)


def test_only_workers_that_have_the_model_loaded_count_unless_none_has() -> None:
    workers = [worker("warm", 1.0), worker("cold", 0.25)]
    states = {"warm": "loaded", "cold": "host_memory"}
    models = {
        name: [detached(WorkerModel, {"model": "demo", "state": state, "load_seconds": 3.0})]
        for name, state in states.items()
    }
    assert end(2, queue_times("demo", Overview(workers, frozenset(states), models), None, JOB)) == pytest.approx(8)
    cold = Overview(workers[1:], frozenset({"cold"}), models)
    assert end(1, queue_times("demo", cold, None, JOB)) == pytest.approx(3.0 + 1.0)


def test_the_likely_worker_is_the_fastest_idle_one() -> None:
    workers = [worker("fast", 0.25), worker("slow", 1.0), worker("new", None)]
    overview = Overview(workers, frozenset(("fast", "slow", "new")))
    assert likely_worker("demo", workers, overview) is workers[0]
    busy = Overview(workers, frozenset(("fast", "slow", "new")), {}, {"fast": 1})
    assert likely_worker("demo", workers, busy) is workers[1]
    assert likely_worker("demo", workers[2:], overview) is None


def test_a_cpu_is_expected_to_take_what_its_worker_forecasts() -> None:
    forecast = {"seconds_per_image": 8.0, **{name: value for name, value in JOB.items() if name != "num_images"}}
    assert end(1, times(worker("cpu", None, info={"model": "demo", "expected": forecast}))) == pytest.approx(8.0)
