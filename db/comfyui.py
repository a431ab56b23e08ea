"""Prompts of ComfyUI's face: submit them with their first jobs, submit later ones, end them; names of uploads.

A prompt is advanced in one transaction that locks its row, by any API process and at any time: each job of its plan is
submitted once, whatever process was stopped in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Text, cast, delete, exists, func, literal, select, update
from sqlalchemy.orm import Session

from core.errors import Conflict, InvalidInput
from core.ids import new_id
from core.lifecycle import SETTLED, JobStatus
from db.database import Database
from db.jobs.submit import NewJob, insert_job
from db.prepared import Prepared
from db.sql import insert_ignore, insert_rows, lock_name, now
from db.tables import ComfyInput, ComfyPrompt, ComfyPromptJob, Image, Job, Upload

HISTORY = 10_000
"""Ended prompts that are kept for an owner, as many as in ComfyUI."""
PAGE = 200
MAX_PAGE = 1000
PAGE_CHARACTERS = 64 * 2**20
"""Of the graphs on one page of the history, which is read into memory whole."""

JobBuilder = Callable[[ComfyPrompt, int, Image, Job], NewJob]
"""Makes the job at a position of a prompt's plan from the image that it starts from, and that one's job."""


@dataclass(frozen=True)
class NewPrompt:
    """A prompt to submit. `jobs` are (position in the plan, job) of those that start from no other job."""

    owner: str
    prompt_id: str
    prompt: dict[str, Any]
    plan: dict[str, Any]
    jobs: Sequence[tuple[int, NewJob]]
    extra_data: dict[str, Any] = field(default_factory=dict)
    client_id: str | None = None
    number: float | None = None
    front: bool = False


@dataclass(frozen=True)
class PromptChange:
    """A prompt's row after a change. `submitted`: (position, job), new ones only; `unneeded`: jobs to cancel."""

    row: ComfyPrompt
    submitted: Sequence[tuple[int, Job]] = ()
    unneeded: Sequence[str] = ()


@dataclass(frozen=True)
class QueuedPrompt:
    """A prompt that has not ended, and whether a worker has taken a job of it."""

    row: ComfyPrompt
    is_running: bool


def submit_prompt(database: Database, new: NewPrompt) -> PromptChange:
    """Store a prompt and submit its first jobs, all or none.

    Raises Conflict `prompt_id_in_use` while the owner's prompt of that id has not ended, and what `insert_job` raises.
    """
    with database.write() as session:
        lock_name(session, f"comfyui:{new.owner}")
        mine = ComfyPrompt.owner == new.owner
        known = session.scalar(select(ComfyPrompt).where(mine, ComfyPrompt.prompt_id == new.prompt_id))
        if known is not None and known.completed_at is None:
            raise Conflict(
                f"The prompt_id '{new.prompt_id}' is that of a prompt which has not ended: send another one.",
                code="prompt_id_in_use",
            )
        if known is not None:
            session.execute(delete(ComfyPrompt).where(ComfyPrompt.id == known.id))
        number = new.number
        if number is None:
            last = session.scalar(select(func.max(func.abs(ComfyPrompt.number))).where(mine))
            number = (0 if last is None else int(min(last, 2.0**53)) + 1) * (-1 if new.front else 1)
        fields = ("owner", "prompt_id", "client_id", "prompt", "extra_data", "plan")
        values = {"id": new_id(), "number": number, **{name: getattr(new, name) for name in fields}}
        insert_rows(session, ComfyPrompt, "created_at", [values])
        row = session.get_one(ComfyPrompt, values["id"])
        submitted = [(position, _insert(session, row, position, job)) for position, job in new.jobs]
        _forget_oldest(session, new.owner)
        return PromptChange(row, submitted)


def _insert(session: Session, row: ComfyPrompt, position: int, new: NewJob) -> Job:
    job = insert_job(session, new)
    session.add(ComfyPromptJob(prompt=row.id, position=position, job_id=job.id))
    session.flush()
    return job


def _forget_oldest(session: Session, owner: str) -> None:
    ended = select(ComfyPrompt.id).where(ComfyPrompt.owner == owner, ComfyPrompt.completed_at.is_not(None))
    oldest_kept = session.scalar(ended.order_by(ComfyPrompt.id.desc()).offset(HISTORY - 1).limit(1))
    if oldest_kept is not None:
        session.execute(
            delete(ComfyPrompt).where(
                ComfyPrompt.owner == owner, ComfyPrompt.completed_at.is_not(None), ComfyPrompt.id < oldest_kept
            )
        )


def advance(database: Database, row_id: str, build: JobBuilder, end: Callable[..., dict[str, Any]]) -> PromptChange | None:
    """Submit the jobs of a prompt whose start images are done, or end it; None for a prompt that is gone.

    `end(row, jobs, images, problem)` returns the result to store: `jobs` and `images` by position, `problem` an error's
    position, code and message, or None for a success.
    """
    with database.write() as session:
        row = session.get(ComfyPrompt, row_id, with_for_update=True)
        if row is None or row.completed_at is not None:
            return None if row is None else PromptChange(row)
        ids = {each.position: each.job_id for each in _members(session, row_id)}
        jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(list(ids.values()))))}
        by_position = {position: jobs.get(job_id) for position, job_id in ids.items()}
        problem = _problem(by_position)
        submitted: list[tuple[int, Job]] = []
        images = _images(session, by_position)
        if problem is None:
            try:
                submitted = _submit_later(session, row, by_position, images, build)
            except InvalidInput as error:
                problem = {"position": len(by_position), "code": error.code, "message": error.message}
        is_done = problem is not None or all(
            (job := by_position.get(position)) is not None and job.status == JobStatus.SUCCEEDED
            for position in range(len(row.plan["jobs"]))
        )
        if not is_done:
            return PromptChange(row, submitted)
        ended = update(ComfyPrompt).where(ComfyPrompt.id == row_id).returning(ComfyPrompt)
        result = end(row, by_position, images, problem)
        row = session.scalars(
            ended.values(result=result, completed_at=now()).execution_options(populate_existing=True)
        ).one()
        unneeded = [job.id for job in by_position.values() if job is not None and job.status not in SETTLED]
        return PromptChange(row, submitted, unneeded)


def _members(session: Session, row_id: str) -> Sequence[ComfyPromptJob]:
    return session.scalars(select(ComfyPromptJob).where(ComfyPromptJob.prompt == row_id)).all()


def _problem(jobs: Mapping[int, Job | None]) -> dict[str, Any] | None:
    """Return what ended a prompt without success: its first job that ended so, or that was deleted."""
    for position, job in sorted(jobs.items()):
        if job is None:
            return {"position": position, "code": "job_gone", "message": "A job of this prompt was deleted."}
        if job.status in SETTLED and job.status != JobStatus.SUCCEEDED:
            code = "interrupted" if job.status == JobStatus.CANCELED else job.error_code or str(job.status)
            message = job.error_message or f"The job is {job.status}."
            return {"position": position, "code": code, "message": message}
    return None


def _images(session: Session, jobs: Mapping[int, Job | None]) -> dict[int, list[Image]]:
    done = {job.id: position for position, job in jobs.items() if job is not None and job.status == JobStatus.SUCCEEDED}
    found: dict[int, list[Image]] = {position: [] for position in done.values()}
    for image in session.scalars(select(Image).where(Image.job_id.in_(list(done))).order_by(Image.index)):
        found[done[image.job_id]].append(image)
    return found


def _submit_later(
    session: Session,
    row: ComfyPrompt,
    jobs: Mapping[int, Job | None],
    images: Mapping[int, Sequence[Image]],
    build: JobBuilder,
) -> list[tuple[int, Job]]:
    """Submit the jobs whose start images are done. Raises InvalidInput when one of these was deleted."""
    submitted = []
    for position, entry in enumerate(row.plan["jobs"]):
        source = entry.get("source")
        if position in jobs or source is None or source["job"] not in images:
            continue
        parent = jobs[source["job"]]
        image = next((image for image in images[source["job"]] if image.index == source["image"]), None)
        if parent is None or image is None:
            raise InvalidInput("The image that the next step starts from was deleted.", code="image_gone")
        submitted.append((position, _insert(session, row, position, build(row, position, image, parent))))
    return submitted


def advanceable(database: Database) -> Sequence[str]:
    """Return the ids of open prompts with a job that has ended, oldest first, at most PAGE."""
    with database.read_rows() as connection:
        return [row["id"] for row in _advanceable().rows(connection, {})]


@cache
def _advanceable() -> Prepared:
    ended = exists().where(ComfyPromptJob.prompt == ComfyPrompt.id, ComfyPromptJob.job_id == Job.id, Job.status.in_(SETTLED))
    gone = exists().where(ComfyPromptJob.prompt == ComfyPrompt.id) & ~exists().where(
        ComfyPromptJob.prompt == ComfyPrompt.id, ComfyPromptJob.job_id == Job.id
    )
    open_ones = select(ComfyPrompt.id).where(ComfyPrompt.completed_at.is_(None), ended | gone)
    return Prepared(open_ones.order_by(ComfyPrompt.id).limit(PAGE))


def prompts_of_jobs(database: Database, job_ids: Collection[str]) -> dict[str, tuple[str, int, str, str | None]]:
    """Return job id -> (row id of its prompt, position, owner, client id), for jobs of prompts."""
    query = (
        select(ComfyPromptJob.job_id, ComfyPrompt.id, ComfyPromptJob.position, ComfyPrompt.owner, ComfyPrompt.client_id)
        .join(ComfyPrompt, ComfyPrompt.id == ComfyPromptJob.prompt)
        .where(ComfyPromptJob.job_id.in_(list(job_ids)))
    )
    with database.read() as session:
        return {row[0]: (row[1], row[2], row[3], row[4]) for row in session.execute(query)}


def get_prompt(database: Database, row_id: str) -> ComfyPrompt | None:
    """Return a prompt by the id of its row."""
    with database.read() as session:
        return session.get(ComfyPrompt, row_id)


def count_open(database: Database, owners: Collection[str]) -> dict[str, int]:
    """Return owner -> number of prompts that have not ended."""
    query = (
        select(ComfyPrompt.owner, func.count())
        .where(ComfyPrompt.completed_at.is_(None), ComfyPrompt.owner.in_(list(owners)))
        .group_by(ComfyPrompt.owner)
    )
    with database.read() as session:
        return dict.fromkeys(owners, 0) | {row[0]: row[1] for row in session.execute(query)}


def queue_of(database: Database, owner: str, prompt_ids: Collection[str] | None = None) -> list[QueuedPrompt]:
    """Return an owner's prompts that have not ended, oldest first, at most MAX_PAGE; or those of these ids."""
    taken = exists().where(
        ComfyPromptJob.prompt == ComfyPrompt.id,
        ComfyPromptJob.job_id == Job.id,
        Job.status != literal(JobStatus.QUEUED.value),
    )
    query = select(ComfyPrompt, taken).where(ComfyPrompt.owner == owner, ComfyPrompt.completed_at.is_(None))
    if prompt_ids is not None:
        query = query.where(ComfyPrompt.prompt_id.in_(list(prompt_ids)))
    with database.read() as session:
        return [
            QueuedPrompt(row, bool(is_running))
            for row, is_running in session.execute(query.order_by(ComfyPrompt.id).limit(MAX_PAGE))
        ]


def open_jobs(database: Database, row_ids: Collection[str]) -> Sequence[str]:
    """Return the ids of the jobs of these prompts that have not ended."""
    query = (
        select(Job.id)
        .join(ComfyPromptJob, ComfyPromptJob.job_id == Job.id)
        .where(ComfyPromptJob.prompt.in_(list(row_ids)), Job.status.not_in(SETTLED))
    )
    with database.read() as session:
        return session.scalars(query).all()


def history_of(database: Database, owner: str, limit: int = PAGE, offset: int | None = None) -> list[ComfyPrompt]:
    """Return an owner's ended prompts, oldest first: the latest ones, or those from `offset` on.

    Fewer where their graphs are large, see PAGE_CHARACTERS; the first one is always among them.
    """
    parts = (ComfyPrompt.prompt, ComfyPrompt.extra_data, ComfyPrompt.result)
    size = sum((func.coalesce(func.length(cast(part, Text)), 0) for part in parts), literal(0))
    ended = select(ComfyPrompt.id, size).where(ComfyPrompt.owner == owner, ComfyPrompt.completed_at.is_not(None))
    order = ComfyPrompt.id.desc() if offset is None else ComfyPrompt.id.asc()
    with database.read() as session:
        total = 0
        ids: list[str] = []
        for row_id, characters in session.execute(ended.order_by(order).offset(offset or 0).limit(limit)).all():
            total += characters
            if ids and total > PAGE_CHARACTERS:
                break
            ids.append(row_id)
        return list(session.scalars(select(ComfyPrompt).where(ComfyPrompt.id.in_(ids)).order_by(ComfyPrompt.id)))


def ended_prompt(database: Database, owner: str, prompt_id: str) -> ComfyPrompt | None:
    """Return an owner's prompt by the client's id, once it has ended."""
    query = select(ComfyPrompt).where(
        ComfyPrompt.owner == owner, ComfyPrompt.prompt_id == prompt_id, ComfyPrompt.completed_at.is_not(None)
    )
    with database.read() as session:
        return session.scalar(query)


def forget_ended(database: Database, owner: str, prompt_ids: Collection[str] | None = None) -> None:
    """Delete an owner's ended prompts, all or those of these ids; their jobs and images stay."""
    ended = delete(ComfyPrompt).where(ComfyPrompt.owner == owner, ComfyPrompt.completed_at.is_not(None))
    with database.write() as session:
        session.execute(ended if prompt_ids is None else ended.where(ComfyPrompt.prompt_id.in_(list(prompt_ids))))


def forget_older(database: Database, days: float) -> None:
    """Delete prompts that ended more than `days` ago, with their graphs."""
    with database.write() as session:
        session.execute(delete(ComfyPrompt).where(ComfyPrompt.completed_at < now() - literal(days * 86400.0)))


def remove_open(database: Database, row_ids: Collection[str]) -> None:
    """Delete prompts that have not ended, so that no further job of them is submitted."""
    with database.write() as session:
        session.execute(delete(ComfyPrompt).where(ComfyPrompt.id.in_(list(row_ids)), ComfyPrompt.completed_at.is_(None)))


def name_input(database: Database, owner: str, name: str, upload_id: str) -> None:
    """Let a name mean this upload, whatever it meant before."""
    with database.write() as session:
        if not insert_ignore(session, ComfyInput, owner=owner, name=name, upload_id=upload_id, created_at=now()):
            session.execute(
                update(ComfyInput)
                .where(ComfyInput.owner == owner, ComfyInput.name == name)
                .values(upload_id=upload_id, created_at=now())
            )


def inputs_of(database: Database, owner: str, names: Collection[str]) -> dict[str, Upload]:
    """Return name -> upload, for those of an owner's names that mean one."""
    query = (
        select(ComfyInput.name, Upload)
        .join(Upload, Upload.id == ComfyInput.upload_id)
        .where(ComfyInput.owner == owner, ComfyInput.name.in_(list(names)))
    )
    with database.read() as session:
        return {row[0]: row[1] for row in session.execute(query)}


def input_names(database: Database, owner: str) -> Sequence[str]:
    """Return the names of an owner's latest uploads, at most PAGE, the newest first."""
    query = select(ComfyInput.name).where(ComfyInput.owner == owner).order_by(ComfyInput.created_at.desc()).limit(PAGE)
    with database.read() as session:
        return session.scalars(query).all()
