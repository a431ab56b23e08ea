"""Prompts of ComfyUI's face on both databases: each step is submitted once, whoever advances the prompt, and ends once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from core.errors import Conflict
from core.ids import new_id
from db import comfyui
from db.comfyui import NewPrompt, PromptChange, advance, submit_prompt
from db.database import Database
from db.jobs.cancel import request_cancel
from db.jobs.submit import NewJob
from db.jobs.succeed import StoredImage, finish_succeeded
from db.tables import ComfyPrompt, ComfyPromptJob, Image, Job
from db.uploads import NewUpload, add_upload, get_upload, remove_upload

Claim = Callable[..., Job | None]
PLAN: dict[str, Any] = {
    "jobs": [{"node": "3", "source": None}, {"node": "11", "source": {"job": 0, "image": 1}}],
    "outputs": [],
}


def job(prompt: str = "first") -> NewJob:
    return NewJob(owner="ann", model="demo", prompt=prompt, input={"seed": 1, "num_images": 2}, face="comfyui")


def prompt(prompt_id: str = "p", **changes: Any) -> NewPrompt:  # noqa: ANN401 -- fields of a prompt
    given: dict[str, Any] = {"owner": "ann", "prompt": {"3": {}}, "plan": PLAN, "jobs": [(0, job())], "client_id": "c"}
    return NewPrompt(prompt_id=prompt_id, **given | changes)


def build(row: ComfyPrompt, position: int, image: Image, parent: Job) -> NewJob:
    return NewJob(
        owner=row.owner, model="demo", prompt=f"{position} from {image.index} of {parent.prompt}", input={"seed": 2}
    )


def end(row: ComfyPrompt, jobs: Any, images: Any, problem: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"problem": problem, "images": {str(position): len(found) for position, found in images.items()}}


def step(database: Database, row_id: str) -> PromptChange:
    change = advance(database, row_id, build, end)
    assert change is not None
    return change


def jobs_of(database: Database, row_id: str) -> dict[str, int]:
    """Return job id -> position, in order of positions."""
    query = select(ComfyPromptJob).where(ComfyPromptJob.prompt == row_id).order_by(ComfyPromptJob.position)
    with database.read() as session:
        return {each.job_id: each.position for each in session.scalars(query)}


def finish(database: Database, running: Job | None, count: int) -> None:
    assert running is not None
    images = [StoredImage(index, f"{new_id()}.png", 64, 64, index, "png", 1, "0" * 64, {}) for index in range(count)]
    assert finish_succeeded(database, running.id, running.attempt, images, {}) is not None


def test_a_chain_is_submitted_step_by_step_and_once(database: Database, claim: Claim) -> None:
    row = submit_prompt(database, prompt()).row
    assert step(database, row.id).submitted == []
    finish(database, claim(), 2)
    assert list(comfyui.advanceable(database)) == [row.id]
    changes: list[PromptChange] = []
    threads = [threading.Thread(target=lambda: changes.append(step(database, row.id))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    submitted = [new for change in changes for new in change.submitted]
    assert [(position, new.prompt) for position, new in submitted] == [(1, "1 from 1 of first")]
    assert comfyui.queue_of(database, "ann")[0].is_running
    finish(database, claim(), 1)
    ended = step(database, row.id).row
    assert ended.result == {"problem": None, "images": {"0": 2, "1": 1}}
    assert ended.completed_at is not None
    assert step(database, row.id).row.result == ended.result, "an ended prompt does not change"
    assert (comfyui.queue_of(database, "ann"), list(comfyui.advanceable(database))) == ([], [])
    assert [each.prompt_id for each in comfyui.history_of(database, "ann")] == ["p"]


def test_a_job_that_ends_otherwise_ends_its_prompt(database: Database, claim: Claim) -> None:
    two = {"jobs": [{"node": "3", "source": None}, {"node": "4", "source": None}], "outputs": []}
    row = submit_prompt(database, prompt(plan=two, jobs=[(0, job()), (1, job("second"))])).row
    jobs = jobs_of(database, row.id)
    canceled = next(job_id for job_id, position in jobs.items() if position == 1)
    request_cancel(database, canceled)
    change = step(database, row.id)
    assert change.row.result is not None
    assert (change.row.result["problem"]["position"], change.row.result["problem"]["code"]) == (1, "interrupted")
    assert list(change.unneeded) == [job_id for job_id in jobs if job_id != canceled]
    assert advance(database, new_id(), build, end) is None


def test_ids_are_the_owners_and_numbers_count(database: Database) -> None:
    first = submit_prompt(database, prompt("one")).row
    assert [submit_prompt(database, prompt("two", front=True)).row.number, first.number] == [-1, 0]
    assert submit_prompt(database, prompt("three")).row.number == 2
    with pytest.raises(Conflict, match="has not ended"):
        submit_prompt(database, prompt("one"))
    assert submit_prompt(database, prompt("one", owner="bob")).row.number == 0
    assert comfyui.count_open(database, ["ann", "bob", "eve"]) == {"ann": 3, "bob": 1, "eve": 0}
    found = comfyui.prompts_of_jobs(database, [*jobs_of(database, first.id), "x"])
    assert list(found.values()) == [(first.id, 0, "ann", "c")]
    request_cancel(database, next(iter(jobs_of(database, first.id))))
    step(database, first.id)
    assert submit_prompt(database, prompt("one")).row.id != first.id, "an ended prompt gives its id free"
    assert comfyui.get_prompt(database, first.id) is None


def test_history_is_bounded_and_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfyui, "HISTORY", 2)
    for number in range(4):
        row = submit_prompt(database, prompt(str(number))).row
        request_cancel(database, next(iter(jobs_of(database, row.id))))
        step(database, row.id)
    submit_prompt(database, prompt("open"))
    assert [each.prompt_id for each in comfyui.history_of(database, "ann")] == ["2", "3"]
    assert [each.prompt_id for each in comfyui.history_of(database, "ann", limit=1)] == ["3"]
    assert [each.prompt_id for each in comfyui.history_of(database, "ann", limit=1, offset=0)] == ["2"]
    monkeypatch.setattr(comfyui, "PAGE_CHARACTERS", 1)
    assert [each.prompt_id for each in comfyui.history_of(database, "ann")] == ["3"], "large ones: the latest"
    assert [each.prompt_id for each in comfyui.history_of(database, "ann", offset=0)] == ["2"]
    comfyui.forget_ended(database, "bob")
    comfyui.forget_ended(database, "ann", ["2"])
    assert comfyui.ended_prompt(database, "ann", "2") is None
    comfyui.forget_older(database, 1)
    assert comfyui.ended_prompt(database, "ann", "3") is not None
    comfyui.forget_older(database, 0)
    assert comfyui.history_of(database, "ann") == []
    assert [each.row.prompt_id for each in comfyui.queue_of(database, "ann")] == ["open"]
    comfyui.remove_open(database, [each.row.id for each in comfyui.queue_of(database, "ann")])
    assert comfyui.queue_of(database, "ann") == []


def test_a_name_goes_with_its_upload(database: Database) -> None:
    ids = [new_id(), new_id()]
    for upload_id in ids:
        add_upload(database, NewUpload(upload_id, "ann", f"{upload_id}.png", 1, 1, 1, "0" * 64))
        comfyui.name_input(database, "ann", "a.png", upload_id)
    assert comfyui.inputs_of(database, "ann", ["a.png", "b.png"])["a.png"].id == ids[1]
    assert (comfyui.inputs_of(database, "bob", ["a.png"]), list(comfyui.input_names(database, "ann"))) == ({}, ["a.png"])
    remove_upload(database, get_upload(database, ids[1]))
    assert comfyui.inputs_of(database, "ann", ["a.png"]) == {}
