"""Advance prompts as their jobs end and notify their clients, by two tasks per process for any number of sockets.

Any process may advance any prompt, so that a chain of jobs continues after a restart; the database lets each step be
submitted once. What no event has announced is found by a query every few seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.comfyui import messages
from api.comfyui.planning import later_job
from api.comfyui.sockets import Key, Sockets
from api.farm import Farm
from api.overview import Overview
from api.routes.jobs import cancel_all
from api.threads import in_thread
from core.comfyui.png_texts import embedded
from core.errors import FarmError
from core.lifecycle import SETTLED, JobStatus
from db import comfyui
from db.comfyui import PromptChange
from db.jobs.submit import NewJob
from db.tables import ComfyPrompt, Image, Job

T = TypeVar("T")
logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
STATUS_SECONDS = 0.5
"""Least time between two messages about the length of the queue to a client."""
PREVIEW_SECONDS = 0.4
_MAX_KEPT = 10_000
_MAX_LOOKUP = 500


@dataclass
class Watched:
    """A prompt with jobs that have not ended, and what its client was told.

    `planned`: for each position of the plan its last node, and all of its nodes. `jobs`: job id -> position.
    """

    row_id: str
    prompt_id: str
    key: Key | None
    """The socket of the client that sent it."""
    planned: list[tuple[str, list[str]]]
    jobs: dict[str, int] = field(default_factory=dict)
    has_started: bool = False
    announced: set[str] = field(default_factory=set)
    node: str | None = None
    preview_at: float = float("-inf")

    @classmethod
    def of(cls, row: ComfyPrompt) -> Watched:
        """Return a prompt without jobs; its graph, which may be large, is not kept."""
        key = (row.owner, row.client_id) if row.client_id is not None else None
        return cls(row.id, row.prompt_id, key, [(job["node"], job["nodes"]) for job in row.plan["jobs"]])


class PromptRunner:
    """Observes the hub of one process, as the module describes, once a prompt or a client's socket has come to it."""

    def __init__(self, farm: Farm) -> None:
        self.sockets = Sockets()
        self._farm = farm
        self._watched: dict[str, Watched] = {}
        self._by_job: dict[str, Watched] = {}
        self._unknown: dict[str, str] = {}
        self._recent: OrderedDict[str, str] = OrderedDict()
        """Job -> status of the latest jobs that were not looked up."""
        self._unrelated: OrderedDict[str, None] = OrderedDict()
        """The latest jobs that belong to no prompt."""
        self._due: dict[str, None] = {}
        self._changed_queues: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._wake_teller = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._previews: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the tasks; call on the event loop."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._tell_queues())]

    def observe(self) -> None:
        """Take the events of all jobs from now on. Call it before a prompt's jobs are submitted, or its client listens."""
        if self not in self._farm.watcher.hub.observers:
            self._farm.watcher.hub.observers.append(self)

    async def stop(self) -> None:
        """Stop the tasks."""
        for task in (*self._previews, *self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def changed(self, job_id: str, revision: int, status: str) -> None:
        """Take a change of any job."""
        watched = self._by_job.get(job_id)
        if watched is not None:
            self._follow(watched, job_id, status)
        elif job_id in self._unrelated:
            return
        elif len(self.sockets):
            self._unknown[job_id] = status
            self._wake.set()
        else:
            _keep(self._recent, job_id, status)

    def progressed(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Take the progress of any job."""
        watched = self._by_job.get(job_id)
        if watched is None or watched.key is None or watched.key not in self.sockets:
            return
        self._begin(watched, job_id)
        step, steps = progress.get("step"), progress.get("steps")
        if watched.node is not None and isinstance(step, int) and isinstance(steps, int):
            self.sockets.tell(watched.key, [messages.progress(watched.prompt_id, watched.node, step, steps)])
        if time.monotonic() - watched.preview_at >= PREVIEW_SECONDS:
            watched.preview_at = time.monotonic()
            task = asyncio.create_task(self._show(watched.key, job_id))
            self._previews.add(task)
            task.add_done_callback(self._previews.discard)

    async def _show(self, key: Key, job_id: str) -> None:
        image = await self._farm.watcher.preview_of(job_id, 0)
        if image is not None:
            self.sockets.show(key, messages.binary_preview(image))

    def _follow(self, watched: Watched, job_id: str, status: str) -> None:
        if status == JobStatus.RUNNING:
            self._begin(watched, job_id)
        elif status in SETTLED:
            self._due[watched.row_id] = None
            self._wake.set()

    def _begin(self, watched: Watched, job_id: str) -> None:
        """Tell the client which nodes run, once for each job."""
        if watched.key is None or job_id in watched.announced:
            return
        watched.announced.add(job_id)
        told = [] if watched.has_started else messages.started(watched.prompt_id)
        watched.has_started = True
        watched.node, nodes = watched.planned[watched.jobs[job_id]]
        told += [messages.executing(watched.prompt_id, node) for node in nodes]
        self.sockets.tell(watched.key, told)

    def watch(self, change: PromptChange) -> None:
        """Publish the hints of a prompt's new jobs and follow the prompt."""
        for _, job in change.submitted:
            if job.hinted_at is not None:
                self._farm.publisher.hint(job)
            self._farm.publisher.changed(job)  # Other processes may have the client's socket.
        if change.submitted:
            self._add(change.row, {job.id: position for position, job in change.submitted})
        self.queue_changed(change.row.owner)

    def _add(self, row: ComfyPrompt, jobs: Mapping[str, int]) -> None:
        watched = self._watched.setdefault(row.id, Watched.of(row))
        for job_id, position in jobs.items():
            if job_id in watched.jobs:
                continue
            watched.jobs[job_id] = position
            self._by_job[job_id] = watched
            # What was announced before the job was known here.
            if (status := self._recent.pop(job_id, None) or self._unknown.pop(job_id, None)) is not None:
                self._follow(watched, job_id, status)

    def _forget(self, row_id: str) -> None:
        watched = self._watched.pop(row_id, None)
        for job_id in watched.jobs if watched is not None else ():
            self._by_job.pop(job_id, None)

    def queue_changed(self, owner: str) -> None:
        """Schedule a message to the owner's clients about how many prompts have not ended."""
        self._changed_queues[owner] = None
        self._wake_teller.set()

    async def cancel(self, rows: Iterable[ComfyPrompt], *, forget: bool = False) -> None:
        """Cancel the jobs of prompts; with `forget`, delete the prompts, which then have no end and no history."""
        ids = [row.id for row in rows]
        job_ids = await in_thread(comfyui.open_jobs, self._farm.database, ids)
        if forget:
            await in_thread(comfyui.remove_open, self._farm.database, ids)
        await cancel_all(self._farm, job_ids, None)
        for row in rows:
            if forget:
                self._forget(row.id)
            else:
                self._due[row.id] = None
            self.queue_changed(row.owner)

    def current_node(self, key: Key) -> list[messages.Message]:
        """Return the event of the node that runs, for a client that has reconnected."""
        return [
            messages.executing(watched.prompt_id, watched.node)
            for watched in self._watched.values()
            if watched.key == key and watched.node is not None
        ][:1]

    async def _run(self) -> None:
        last_poll = float("-inf")
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if time.monotonic() - last_poll >= POLL_SECONDS:
                    last_poll = time.monotonic()
                    self._due |= dict.fromkeys(await self._farm.quick_reads.run(comfyui.advanceable, self._farm.database))
                await self._look_up()
                await self._advance_due()
            except FarmError as error:
                logger.warning("prompts of ComfyUI clients wait: %s", error.message)
                await asyncio.sleep(1.0)
            except Exception:
                logger.exception("a round of ComfyUI's prompts failed; the next one tries again")
                await asyncio.sleep(1.0)

    async def _look_up(self) -> None:
        """Find out which changed jobs belong to prompts whose client has a socket here."""
        while self._unknown:
            batch = dict(list(self._unknown.items())[:_MAX_LOOKUP])
            found = await in_thread(comfyui.prompts_of_jobs, self._farm.database, batch)
            for job_id in batch:
                status = self._unknown.pop(job_id, None)
                if status is None:
                    continue  # Its prompt was added meanwhile.
                row_id, position, owner, client_id = found.get(job_id, ("", 0, "", None))
                if not owner:
                    _keep(self._unrelated, job_id, None)
                    continue
                self.queue_changed(owner)
                if client_id is None or (owner, client_id) not in self.sockets:
                    _keep(self._recent, job_id, status)  # The call that submits it may be about to follow it.
                    continue
                row = await in_thread(comfyui.get_prompt, self._farm.database, row_id)
                if row is not None:
                    self._add(row, {job_id: position})
                    self._follow(self._watched[row_id], job_id, status)

    async def _advance_due(self) -> None:
        while self._due:
            self.observe()
            row_id = next(iter(self._due))
            del self._due[row_id]
            overview = await self._farm.overview.get()
            try:
                change = await in_thread(self._advance, row_id, overview)
            except FarmError:
                self._due[row_id] = None
                raise
            if change is None:
                self._forget(row_id)
                continue
            await cancel_all(self._farm, change.unneeded, None)
            self.watch(change)
            if change.row.completed_at is not None:
                self._end(change.row)

    def _advance(self, row_id: str, overview: Overview) -> PromptChange | None:
        return comfyui.advance(self._farm.database, row_id, _builder(overview), messages.result_of)

    def _end(self, row: ComfyPrompt) -> None:
        watched = self._watched.get(row.id)
        if watched is not None and watched.key is not None:
            start = [] if watched.has_started else messages.started(row.prompt_id)
            self.sockets.tell(watched.key, [*start, *messages.ended(row)])
        self._forget(row.id)

    async def _tell_queues(self) -> None:
        """Tell owners how many of their prompts have not ended; by its own task, since an owner may have many sockets.

        Another process may end a prompt after its last job, of which no event tells: look again while one is open.
        """
        told: dict[str, int] = {}
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS if any(told.values()) else None):
                    await self._wake_teller.wait()
            self._wake_teller.clear()
            changed = self.sockets.owners(self._changed_queues)
            open_before = self.sockets.owners(owner for owner, count in told.items() if count)
            self._changed_queues.clear()
            if not (changed or open_before):
                continue
            try:
                counts = await in_thread(comfyui.count_open, self._farm.database, {*changed, *open_before})
                for owner, count in counts.items():
                    if owner in changed or told[owner] != count:
                        await self.sockets.tell_owner(owner, count)
                told = counts
            except FarmError as error:
                logger.warning("ComfyUI clients are not told of the queue: %s", error.message)
            await asyncio.sleep(STATUS_SECONDS)


def _keep(kept: OrderedDict[str, T], job_id: str, value: T) -> None:
    kept[job_id] = value
    kept.move_to_end(job_id)
    while len(kept) > _MAX_KEPT:
        kept.popitem(last=False)


def _builder(overview: Overview) -> comfyui.JobBuilder:
    def build(row: ComfyPrompt, position: int, image: Image, parent: Job) -> NewJob:
        is_shown = any(position in output["jobs"] for output in row.plan["outputs"])
        texts = embedded(row.prompt, row.extra_data)[0] if is_shown else {}
        return later_job(row.plan["jobs"][position], image, parent, overview, texts)

    return build
