"""A short, seeded run of benchmarks/chaos.py on each database: no job is lost, none finishes twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos import Plan, run
from tests.servers.forked_parts import fork_part


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_no_job_is_lost_and_none_finishes_twice(server_root: Path, database: str) -> None:
    plan = Plan(database, 80, 10, 3, pause_seconds=1.0, lease_seconds=3.0, heartbeat_seconds=0.8, settle_seconds=400.0)
    result = run(plan, server_root / f"chaos-{database}", fork_part)
    assert result.findings.accepted == plan.jobs and sum(result.faults.values()) == plan.kills
    assert result.findings.failures() == {}
    assert result.findings.statuses == {"succeeded": plan.jobs}
    assert result.other_answers == []
