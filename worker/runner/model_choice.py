"""Decide which of its models a worker loads next. Pure: everything it considers is in its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BUSY_STAY = 4.0
"""A model with jobs of its own stays loaded for at least this many times the seconds that the next one takes to load. So
loading takes at most a fifth of the time while all models have jobs."""
IDLE_SECONDS = 3.0
"""A model without jobs stays loaded for this long at most: its user may send another job at
once, but the device must not stay idle for long."""


@dataclass(frozen=True)
class Candidate:
    """One model of the worker. `load_seconds`: how long it takes to load, as seen or estimated.

    `waiting`: its queued jobs that this worker may claim, the oldest for `oldest_seconds`.
    `idle_elsewhere`: other workers that have it loaded or are loading it and hold no job; `warm_elsewhere`: all that have.
    `available`: false while a failed load is waited out. `requested`: an administrator asked to load it.
    """

    model: str
    load_seconds: float
    waiting: int = 0
    oldest_seconds: float = 0.0
    idle_elsewhere: int = 0
    warm_elsewhere: int = 0
    available: bool = True
    requested: bool = False


@dataclass(frozen=True)
class Choice:
    """The model to load, and why, as a clause for the log. `for_jobs`: for jobs that another worker may take as well."""

    model: str
    reason: str
    for_jobs: bool = False


def choose(
    candidates: Sequence[Candidate], loaded: str | None, loaded_for_seconds: float, swap_after_seconds: float
) -> Choice | None:
    """Return the model to load in place of `loaded`; None to go on with that.

    In this order: a requested model; nothing while the loaded one has work and no other waits for too long; the model whose
    oldest job waits longest, less its load seconds.
    """
    others = [each for each in candidates if each.model != loaded and each.available]
    for each in others:
        if each.requested:
            return Choice(each.model, "an administrator asked for it")
    present = next((each for each in candidates if each.model == loaded), None)
    if present is not None and present.requested:
        return None  # Keep it until the request is cleared.
    ripe = [each for each in others if each.waiting and _is_ripe(each, present, loaded_for_seconds, swap_after_seconds)]
    if not ripe:
        return None
    best = max(ripe, key=lambda each: each.oldest_seconds - each.load_seconds)
    return Choice(best.model, f"{_jobs(best.waiting)} for it, the oldest for {best.oldest_seconds:.0f} s", for_jobs=True)


def _is_ripe(other: Candidate, present: Candidate | None, loaded_for: float, swap_after: float) -> bool:
    overdue = other.oldest_seconds >= swap_after
    if other.waiting <= other.idle_elsewhere and other.oldest_seconds < max(swap_after, 2 * other.load_seconds):
        return False  # An idle worker takes each of these jobs without loading anything.
    if other.warm_elsewhere and other.oldest_seconds < min(other.load_seconds, swap_after):
        return False  # A busy one that has the model may take them before this worker had it loaded.
    if present is None:
        return True
    if present.waiting:
        return overdue and loaded_for >= max(swap_after, BUSY_STAY * other.load_seconds)
    return loaded_for >= min(IDLE_SECONDS, other.load_seconds, swap_after)


def longest_wait(load_seconds: float, job_seconds: float, swap_after_seconds: float, models: int = 2) -> float:
    """Return the bound on the seconds from the start of a model's turn to the next one, for models of equal cost."""
    return (models - 1) * (max(swap_after_seconds, BUSY_STAY * load_seconds) + job_seconds + load_seconds)


def _jobs(count: int) -> str:
    return "1 job waits" if count == 1 else f"{count} jobs wait"
