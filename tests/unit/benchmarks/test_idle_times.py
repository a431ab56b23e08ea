"""Spans in which a worker has no job while one waits."""

from __future__ import annotations

import pytest

from benchmarks.faults.idle_times import Span, idle_spans, join_spans


@pytest.mark.parametrize(
    ("spans", "joined"),
    [
        ([], []),
        ([(1.0, 2.0), (3.0, 4.0)], [(1.0, 2.0), (3.0, 4.0)]),
        ([(3.0, 4.0), (1.0, 3.0)], [(1.0, 4.0)]),
        ([(1.0, 9.0), (2.0, 3.0)], [(1.0, 9.0)]),
    ],
)
def test_overlapping_spans_are_joined(spans: list[Span], joined: list[Span]) -> None:
    assert join_spans(spans) == joined


@pytest.mark.parametrize(
    ("busy", "idle"),
    [
        ([], [(0.0, 10.0)]),
        ([(0.0, 10.0)], []),
        ([(-5.0, 2.0), (4.0, 6.0), (9.0, 20.0)], [(2.0, 4.0), (6.0, 9.0)]),
        ([(-5.0, -1.0), (11.0, 12.0)], [(0.0, 10.0)]),
    ],
)
def test_idle_spans_are_what_no_busy_span_covers(busy: list[Span], idle: list[Span]) -> None:
    assert idle_spans(busy, (0.0, 10.0)) == idle
