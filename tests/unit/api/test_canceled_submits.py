"""A caller that is canceled while its job is committed: the job keeps what it reserved, and gets its hint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest

from api import submission, submit_groups
from api.caller import Caller
from api.farm import Farm
from api.submit_groups import SubmitGroups
from db.database import Database
from db.jobs.submit import NewJob, Submitted
from db.tables import Job


def test_a_client_that_leaves_gets_no_job_beyond_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    hinted: list[str] = []

    def reserve(*_: object) -> bool:
        taken.append("submit")
        return True

    def refund(*_: object) -> None:
        taken.pop()

    monkeypatch.setattr(submission, "reserve", reserve)
    monkeypatch.setattr(submission, "refund", refund)

    async def run() -> None:
        started, gate, published = threading.Event(), threading.Event(), threading.Event()

        def submit_all(*_: object) -> list[Submitted]:
            started.set()
            assert gate.wait(20)
            return [Submitted(Job(id="job", model="demo"), hint=True)]

        def hint(job: Job, tell: Callable[[], object]) -> None:
            tell()
            hinted.append(job.id)
            published.set()

        monkeypatch.setattr(submit_groups, "submit_all", submit_all)
        farm = SimpleNamespace(database=None, submits=SubmitGroups(cast("Database", None), print, hint), tracing=None)
        limits = SimpleNamespace(key_id="key", submits_per_minute=1, pixels_per_day=None)
        caller = SimpleNamespace(limits=limits)
        new = NewJob(owner="ann", model="demo", prompt="x", input={"width": 64, "height": 64})
        call = asyncio.create_task(submission.commit_job(cast("Farm", farm), cast("Caller", caller), new))
        await asyncio.to_thread(started.wait, 20)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        gate.set()
        await asyncio.to_thread(published.wait, 120)

    asyncio.run(run())
    assert (taken, hinted) == (["submit"], ["job"])
