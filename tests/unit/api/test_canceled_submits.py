"""A caller that is canceled while its job is committed: the job keeps what it reserved, and gets its hint."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api import submission
from api.caller import Caller
from api.farm import Farm
from db.jobs.submit import NewJob


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
        started, gate, published = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def submit(_: object) -> Any:  # noqa: ANN401 -- stands for a submitted job
            started.set()
            await gate.wait()
            return SimpleNamespace(replayed=False, hint=True, job=SimpleNamespace(id="job", model="demo"))

        def hint(job: Any) -> None:  # noqa: ANN401 -- stands for a job
            hinted.append(job.id)
            published.set()

        farm = SimpleNamespace(
            database=None, submits=SimpleNamespace(submit=submit), publisher=SimpleNamespace(hint=hint), tracing=None
        )
        limits = SimpleNamespace(key_id="key", submits_per_minute=1, pixels_per_day=None)
        caller = SimpleNamespace(limits=limits)
        new = NewJob(owner="ann", model="demo", prompt="x", input={"width": 64, "height": 64})
        call = asyncio.create_task(submission.commit_job(cast("Farm", farm), cast("Caller", caller), new))
        await started.wait()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        gate.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(published.wait(), 120)

    asyncio.run(run())
    assert (taken, hinted) == (["submit"], ["job"])
