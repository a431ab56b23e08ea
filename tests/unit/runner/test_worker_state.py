"""How much of a job's waiting time the model was loading."""

from __future__ import annotations

import pytest

from worker.runner.worker_state import LoadingSpans


@pytest.fixture
def spans() -> LoadingSpans:
    """Return spans of a worker that loaded from 100 to 110 and again from 130 to 135."""
    times = iter([100.0, 110.0, 130.0, 135.0])
    spans = LoadingSpans(lambda: next(times))
    for state in ("loading", "loading", "ready", "ready", "loading", "failed", "loading", "ready"):
        spans.note(state)
    return spans


@pytest.mark.parametrize(
    ("waited", "until", "loading"),
    [
        (20.0, 120.0, 10.0),
        (15.0, 120.0, 5.0),
        (5.0, 120.0, 0.0),
        (0.0, 120.0, 0.0),
        (40.0, 140.0, 15.0),
        (1000.0, 140.0, 15.0),
        (3.0, 104.0, 3.0),
    ],
)
def test_only_loading_while_waiting_counts(spans: LoadingSpans, waited: float, until: float, loading: float) -> None:
    assert spans.within(waited, until) == loading
    assert loading <= waited


def test_an_unfinished_load_does_not_count() -> None:
    assert LoadingSpans(lambda: 5.0).within(10.0, 20.0) == 0.0
