"""Retry rules by error code: whether to retry a failed attempt, when, and on which worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core import backoff


@dataclass(frozen=True)
class RetryRule:
    """`retry`: requeue the job. `other_worker`: exclude the worker where the attempt failed.

    `blames_worker`: the machine may be at fault, so another worker is preferred, and a worker that fails several different
    jobs in a row is quarantined.
    `costs_attempt`: count the attempt against `max_attempts`. `base_seconds` doubles with each attempt.
    """

    retry: bool
    other_worker: bool = False
    blames_worker: bool = False
    costs_attempt: bool = True
    base_seconds: float = 0.0


RULES: Mapping[str, RetryRule] = {
    # The process that held the job ended, or froze until its lease expired.
    "worker_lost": RetryRule(retry=True),
    # The worker was restarted and gives back what its earlier process held. See db.jobs.reap for how often that is free.
    "worker_restarted": RetryRule(retry=True, costs_attempt=False),
    # The engine process died or hung while it held the job; the worker is alive.
    "engine_lost": RetryRule(retry=True, blames_worker=True, base_seconds=0.5),
    # No engine was ready: the attempt never started.
    "engine_away": RetryRule(retry=True, costs_attempt=False, base_seconds=0.5),
    # Too large for that GPU even when rendered alone: only another worker can run it.
    "out_of_memory": RetryRule(retry=True, other_worker=True, base_seconds=0.5),
    # The image directory did not accept the file: full, not writable or not reachable. The job is not at fault.
    "storage_unavailable": RetryRule(retry=True, costs_attempt=False, base_seconds=2.0),
    # The worker stops on request; the job is not at fault.
    "worker_drained": RetryRule(retry=True, costs_attempt=False),
    # The worker cannot load this model at the moment. The job is not at fault.
    "model_unavailable": RetryRule(retry=True, costs_attempt=False, base_seconds=2.0),
    # The weights of the upscaler are missing or damaged on that worker; another may have them.
    "upscaler_unavailable": RetryRule(retry=True, other_worker=True, base_seconds=0.5),
    # The numbers overflowed: the same seed would overflow again.
    "non_finite_latents": RetryRule(retry=False),
    # The image that the job was made from was deleted.
    "parent_gone": RetryRule(retry=False),
    # The image is black all over, which overflowed numbers cause too: the same seed would be black again.
    "black_image": RetryRule(retry=False),
    # The safety hook rejected the image; it would reject the same one again.
    "safety_rejected": RetryRule(retry=False),
    # The safety hook raised an error. The job is not at fault; no image leaves the worker unchecked.
    "safety_hook_failed": RetryRule(
        retry=True, other_worker=True, blames_worker=True, costs_attempt=False, base_seconds=0.5
    ),
    # The engine refused the parameters.
    "invalid_input": RetryRule(retry=False),
    # An unexpected error; a retry is cheap, and attempts are capped.
    "render_failed": RetryRule(retry=True, blames_worker=True, base_seconds=1.0),
}

EXCLUDING_CODES = frozenset(code for code, rule in RULES.items() if rule.other_worker)
"""Codes that exclude a worker from a job for good."""

BACKOFF_CAP_SECONDS = 60.0


def rule_for(code: str) -> RetryRule:
    """Return the rule of an error code; unlisted codes are treated as `render_failed`."""
    return RULES.get(code, RULES["render_failed"])


def backoff_seconds(rule: RetryRule, attempt: int) -> float:
    """Return the seconds to wait before attempt `attempt` + 1; `attempt` counts from 1.

    Errors that cost no attempt always wait `base_seconds`.
    """
    doublings = attempt - 1 if rule.costs_attempt else 0
    return backoff.backoff_seconds(doublings + 1, rule.base_seconds, BACKOFF_CAP_SECONDS)
