"""Restarts of a child back off after each failure."""

from __future__ import annotations

from supervisor.process_manager import CAP_SECONDS, FIRST_SECONDS, SETTLED_SECONDS, RestartBackoff


def test_the_pause_doubles_after_each_early_failure_up_to_a_cap() -> None:
    restarts = RestartBackoff()
    delays = [restarts.next_delay_seconds(uptime_seconds=0.1) for _ in range(12)]
    assert delays[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert delays == sorted(delays)
    assert delays[-1] == CAP_SECONDS


def test_a_failure_after_a_long_uptime_counts_as_the_first() -> None:
    restarts = RestartBackoff()
    for _ in range(5):
        restarts.next_delay_seconds(uptime_seconds=0.1)
    assert restarts.next_delay_seconds(uptime_seconds=SETTLED_SECONDS) == FIRST_SECONDS


def test_a_child_that_has_failed_thousands_of_times_still_restarts() -> None:
    assert RestartBackoff(failures=5000).next_delay_seconds(uptime_seconds=0.1) == CAP_SECONDS
