"""Back-off of dying children."""

from __future__ import annotations

from supervisor.process_manager import CAP_SECONDS, FIRST_SECONDS, SETTLED_SECONDS, RestartBackoff


def test_waits_longer_after_each_early_death_up_to_a_cap() -> None:
    restarts = RestartBackoff()
    delays = [restarts.next_delay_seconds(lived_seconds=0.1) for _ in range(12)]
    assert delays[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert delays == sorted(delays)
    assert delays[-1] == CAP_SECONDS


def test_a_death_after_a_good_life_counts_as_the_first() -> None:
    restarts = RestartBackoff()
    for _ in range(5):
        restarts.next_delay_seconds(lived_seconds=0.1)
    assert restarts.next_delay_seconds(lived_seconds=SETTLED_SECONDS) == FIRST_SECONDS
