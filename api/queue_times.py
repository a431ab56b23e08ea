"""When queued jobs start and end, from the speeds of the workers that claim them; times in seconds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from api.image_sizes import fits
from api.overview import Overview
from core.work import FASTER, longest_wait, work_of
from db.statistics import RecentMean
from db.tables import Worker

_MOST_JOBS, _MOST_WORKERS = 50, 16
"""Up to so many, an end is computed job by job: every poll of a queued job does that."""
CLAIMING_STATES = ("ready", "loading", "unloaded")


@dataclass(frozen=True)
class WorkerSpeed:
    """Seconds for a unit of work (core.work): `shared` while it has as many jobs as lately, `alone` for one image."""

    shared: float
    alone: float


@dataclass(frozen=True)
class QueueTimes:
    """The workers of one model that claim jobs. `typical_work`: of a waiting or recent job. `held`: jobs of each worker.

    `free`: how many more they can hold. `loading_seconds`: until the first has the model. `waiting`: queued jobs, of which
    not all may be counted. `held_seconds`: for how long the jobs of each worker have run; None counts them half.
    """

    speeds: Sequence[WorkerSpeed]
    typical_work: float
    held: Sequence[int]
    free: int
    loading_seconds: float
    waiting: int = 0
    held_seconds: Sequence[float | None] = ()

    def until_start(self, ahead: int) -> float:
        """Return when a worker takes a job with `ahead` jobs before it: at once where it can hold that many more."""
        waits = ahead >= self.free
        return self.loading_seconds + (self._together(self._work_before(ahead)) if waits else 0.0)

    def until_end(self, position: int, work: float | None) -> float:
        """Return when a job ends: when its worker has done all before it, and at least what it takes alone on the fastest.

        `position` counts from 1; `work`: of the job, None for a typical one. With many jobs or workers, all work up to the
        job is divided by the speed of all.
        """
        own = work or self.typical_work
        if position <= _MOST_JOBS and len(self.speeds) <= _MOST_WORKERS:
            end = self._end_in_turn(position, own)
        else:
            end = self._together(self._work_before(position - 1) + own)
        return self.loading_seconds + max(end, own * min(each.alone for each in self.speeds))

    def _end_in_turn(self, position: int, own: float) -> float:
        """Return when a job ends where each worker that is free takes the next one, or leaves it as decision 23 says."""
        shared, typical = [each.shared for each in self.speeds], self.typical_work
        faster = [[at for at, other in enumerate(shared) if other * FASTER <= each] for each in shared]
        seconds = self.held_seconds or [None] * len(shared)
        free_at = [
            held / 2 * typical * each if so_far is None else max(held * typical * each - so_far, 0.0)
            for held, each, so_far in zip(self.held, shared, seconds, strict=True)
        ]
        left = max(self.waiting, position)
        has_waited = [False] * len(shared)
        while True:
            at = min(range(len(shared)), key=lambda each: (free_at[each], shared[each]))
            now, quicker = free_at[at], faster[at]
            ahead = left + sum(free_at[each] > now for each in quicker)
            if not has_waited[at] and ahead < sum(shared[at] / shared[each] for each in quicker):
                free_at[at] += longest_wait(typical * shared[at])
                has_waited[at] = True
                continue
            has_waited[at] = False
            position, left = position - 1, left - 1
            free_at[at] = now + (typical if position else own) * shared[at]
            if not position:
                return free_at[at]

    def _work_before(self, ahead: int) -> float:
        """Return the work of the jobs before, and of the second half of each that runs."""
        return (ahead + sum(self.held) / 2) * self.typical_work

    def _together(self, work: float) -> float:
        return work / sum(1 / each.shared for each in self.speeds)


def queue_times(
    model: str,
    overview: Overview,
    recent: RecentMean | None,
    given: Mapping[str, Any] | None = None,
    excluded: Collection[str] = (),
) -> QueueTimes | None:
    """Return the times of a model's queue; None where nothing claims its jobs, or nothing is known of their speed.

    `given`: normalised parameters of the job that is asked for: only workers on which it fits count, and that are not
    `excluded` from it.
    """
    workers, loading_seconds = claiming_workers(model, overview, given, excluded)
    speeds = _speeds(model, workers, recent)
    if not speeds:
        return None
    queued = overview.waiting.get(model)
    typical = (queued and queued.work) or (recent and recent.work) or (work_of(given) if given else 0.0) or 1.0
    held = [overview.running.get(worker.name, 0) for worker in workers]
    free = sum(worker.capacity for worker in workers) - sum(held)
    seconds = [overview.running_seconds.get(worker.name) for worker in workers]
    return QueueTimes(speeds, typical, held, free, loading_seconds, queued.jobs if queued else 0, seconds)


def claiming_workers(
    model: str, overview: Overview, given: Mapping[str, Any] | None = None, excluded: Collection[str] = ()
) -> tuple[list[Worker], float]:
    """Return the workers that claim jobs of the model and those parameters, and the seconds until the first has it loaded.

    As long as one has it loaded, those that have not do not count.
    """
    found = capable_workers(model, overview.serving(model), given, excluded)
    if loaded := [worker for worker in found if overview.model_state(worker, model) == "loaded"]:
        return loaded, 0.0
    rows = [row for worker in found if (row := overview.row(worker, model)) is not None]
    return found, min((row.load_seconds or 0.0 for row in rows), default=0.0)


def capable_workers(
    model: str, workers: Sequence[Worker], given: Mapping[str, Any] | None = None, excluded: Collection[str] = ()
) -> list[Worker]:
    """Return those of the model's workers that may take a job: they claim, it fits there, and they are not `excluded`."""
    return [
        worker
        for worker in workers
        if claims(worker) and worker.name not in excluded and (not given or fits(worker, model, given))
    ]


def claims(worker: Worker) -> bool:
    """Return whether a live worker claims jobs, or will once its model is loaded."""
    held_back = (worker.paused_at, worker.drain_requested_at, worker.quarantined_until)
    return worker.state in CLAIMING_STATES and all(at is None for at in held_back)


def likely_worker(model: str, workers: Sequence[Worker], overview: Overview) -> Worker | None:
    """Return the worker that a job would go to now: the fastest idle one, or of all; None where none was measured."""
    measured = [(speed.alone, worker.name, worker) for worker in workers if (speed := speed_of(worker, model)) is not None]
    idle = [each for each in measured if not overview.running.get(each[1])]
    return min(idle or measured)[2] if measured else None


def speed_of(worker: Worker, model: str) -> WorkerSpeed | None:
    """Return what a worker reports of its speed: measured with the loaded model, or what it expects of its CPU."""
    info = worker.info
    if info.get("model") != model:
        return None
    speed, expected = info.get("speed") or {}, info.get("expected") or {}
    if shared := speed.get("seconds_per_megapixel_step"):
        return WorkerSpeed(shared, speed.get("alone_seconds_per_megapixel_step") or shared)
    if expected.get("seconds_per_image") and (work := work_of(expected)):
        each = float(expected["seconds_per_image"]) / work
        return WorkerSpeed(each, each)
    return None


def _speeds(model: str, workers: Sequence[Worker], recent: RecentMean | None) -> list[WorkerSpeed]:
    """Return a speed for each worker: one that has reported none is taken to be like the others, or like recent jobs."""
    reported = [speed_of(worker, model) for worker in workers]
    known = [speed for speed in reported if speed is not None]
    if known:
        mean = WorkerSpeed(fmean(each.shared for each in known), fmean(each.alone for each in known))
        return [speed or mean for speed in reported]
    if recent is None:
        return []
    each = recent.seconds / (recent.work or 1.0)
    return [WorkerSpeed(each / max(worker.capacity, 1), each) for worker in workers]
