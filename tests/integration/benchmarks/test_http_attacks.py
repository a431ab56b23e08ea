"""The attacks on HTTP connections, small: every probe is answered meanwhile."""

from __future__ import annotations

from pathlib import Path

from benchmarks.http_attacks import Plan, measure


def test_every_probe_is_answered_during_the_attacks(tmp_path: Path) -> None:
    found = measure(Plan(head_bytes=2**20, connections=400, descriptors=300, seconds=2.0), tmp_path)
    assert set(found) == {"at rest", "large heads", "idle connections"}
    for name, probes in found.items():
        assert probes.milliseconds, name
        assert probes.failed == 0, name
