"""What each kind of failed attempt leads to: fail at once, or try again, when, and where."""

from __future__ import annotations

from dataclasses import dataclass

from core import backoff


@dataclass(frozen=True)
class RetryRule:
    """`retry`: back to the queue. `other_worker`: never again on the worker where it happened.

    `costs_attempt`: whether it counts against `max_attempts`. `base_seconds` doubles with each attempt.
    """

    retry: bool
    other_worker: bool = False
    costs_attempt: bool = True
    base_seconds: float = 0.0


RULES: dict[str, RetryRule] = {
    # The process that held the job is gone, or froze past its lease.
    "worker_lost": RetryRule(retry=True),
    # The engine process died or hung while it held the job; the worker lives.
    "engine_lost": RetryRule(retry=True, base_seconds=0.5),
    # There was no engine to hand it to: it never began.
    "engine_away": RetryRule(retry=True, costs_attempt=False, base_seconds=0.5),
    # Too big for that card even alone: only another worker can help.
    "out_of_memory": RetryRule(retry=True, other_worker=True, base_seconds=0.5),
    # The image directory or bucket did not take the file: full, unwritable, away.
    "storage_unavailable": RetryRule(retry=True, base_seconds=2.0),
    # The worker stops on request; the job did nothing wrong.
    "worker_drained": RetryRule(retry=True, costs_attempt=False),
    # The worker cannot load this model (any more).
    "model_unavailable": RetryRule(retry=True, other_worker=True, base_seconds=0.5),
    # The numbers overflowed: the same seed would do the same again.
    "non_finite_latents": RetryRule(retry=False),
    # The engine refused the parameters.
    "invalid_input": RetryRule(retry=False),
    # An error that nobody foresaw; trying once more is cheap, and attempts are capped.
    "render_failed": RetryRule(retry=True, base_seconds=1.0),
}

BACKOFF_CAP_SECONDS = 60.0


def rule_for(code: str) -> RetryRule:
    """The rule of an error code; codes nobody listed are treated as `render_failed`."""
    return RULES.get(code, RULES["render_failed"])


def backoff_seconds(rule: RetryRule, attempt: int) -> float:
    """Seconds to wait before attempt `attempt` + 1; `attempt` counts from 1. What costs no attempt does not add up."""
    doublings = attempt - 1 if rule.costs_attempt else 0
    return backoff.backoff_seconds(doublings + 1, rule.base_seconds, BACKOFF_CAP_SECONDS)
