"""Groups of submits: what arrives during a commit shares the next one, and an error of one fails no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from api import submit_groups
from api.submit_groups import SubmitGroups
from core.errors import FarmError, TooManyRequests, Unavailable
from db.database import Database
from db.jobs.submit import NewJob, Submission, Submitted


def submission(prompt: str) -> Submission:
    return Submission(NewJob(owner="ann", model="demo", prompt=prompt, input={}))


class GatedDatabase:
    """Stands in for `db.jobs.submit.submit_all`; the first group waits for `gate`."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.started, self.gate = threading.Event(), threading.Event()

    def submit_all(self, _: object, group: Sequence[Submission]) -> list[Submitted | FarmError]:
        prompts = [each.new.prompt for each in group]
        self.groups.append(prompts)
        self.started.set()
        assert self.gate.wait(120)
        if "away" in prompts:
            raise Unavailable("The database does not answer.")
        if "poison" in prompts:
            raise ValueError("poison")
        return [
            TooManyRequests("full", retry_after=1.0) if each == "full" else cast("Submitted", f"stored {each}")
            for each in prompts
        ]


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> GatedDatabase:
    gated = GatedDatabase()
    monkeypatch.setattr(submit_groups, "submit_all", gated.submit_all)
    return gated


def submit_behind(gated: GatedDatabase, first: str, *others: str) -> list[Any]:
    """Submit `others` while the group of `first` is committed; return results and errors."""

    async def run() -> list[Any]:
        groups = SubmitGroups(cast("Database", None), lambda job: None, lambda job, tell: tell())
        tasks = [asyncio.create_task(groups.submit(submission(first)))]
        await asyncio.to_thread(gated.started.wait, 120)
        tasks += [asyncio.create_task(groups.submit(submission(each))) for each in others]
        await asyncio.sleep(0)
        gated.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


def test_submits_during_a_commit_form_the_next_group(gated: GatedDatabase) -> None:
    found = submit_behind(gated, "a", "b", "full", "d")
    assert [found[0], found[1], found[3]] == ["stored a", "stored b", "stored d"]
    assert isinstance(found[2], TooManyRequests)
    assert gated.groups == [["a"], ["b", "full", "d"]]


def test_one_that_breaks_its_group_fails_alone(gated: GatedDatabase) -> None:
    found = submit_behind(gated, "a", "b", "poison", "d")
    assert [found[1], found[3]] == ["stored b", "stored d"]
    assert isinstance(found[2], ValueError)


def test_an_outage_fails_the_whole_group_at_once(gated: GatedDatabase) -> None:
    found = submit_behind(gated, "a", "b", "away")
    assert [type(each) for each in found[1:]] == [Unavailable, Unavailable]
    assert gated.groups == [["a"], ["b", "away"]]
