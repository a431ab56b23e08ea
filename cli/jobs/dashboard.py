"""Fetch the current state of the farm and render it as tables for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.tables import cut_table, device_of
from core.errors import Gone, NotFound
from core.lifecycle import JobStatus
from core.schemas.base import ResponseBody
from core.schemas.jobs import Job
from core.schemas.workers import Queue, Worker
from imagefarm import ImageFarm
from imagefarm.formatting import ago, one_line, seconds, status_text

SHOWN = 10


class DashboardData(ResponseBody):
    """The state of the farm: live workers, up to 10 running jobs and the newest 10 waiting jobs."""

    url: str
    workers: list[Worker]
    queue: Queue
    running: list[Job]
    waiting: list[Job]


def fetch_dashboard(farm: ImageFarm) -> DashboardData:
    """Fetch the state. Running jobs are fetched one by one: the list of jobs has no progress."""
    running = [fetch_if_there(farm, job) for job in farm.jobs(status=[JobStatus.RUNNING], limit=SHOWN)]
    return DashboardData(
        url=farm.url,
        workers=[worker for worker in farm.workers().items if worker.live],
        queue=farm.queue(),
        running=[job for job in running if job is not None],
        waiting=list(farm.jobs(status=[JobStatus.QUEUED], limit=SHOWN)),
    )


def fetch_if_there(farm: ImageFarm, job: Job) -> Job | None:
    """Return the present job; None when it has been deleted."""
    try:
        return farm.get(job)
    except (NotFound, Gone):
        return None


def render_dashboard(data: DashboardData) -> RenderableType:
    """Return the state as tables for a terminal."""
    queue = data.queue
    head = Text(f"{data.url}   {queue.running} running, {queue.queued} waiting, {queue.held} held", style="bold")
    parts: list[RenderableType] = [head, Text(), _workers(data.workers)]
    parts += [Text(f"{row.model}: {row.reason}", style="red") for row in queue.models if row.reason]
    if data.running:
        parts += [Text(), _running(data.running)]
    if data.waiting:
        parts += [Text(), _waiting(data)]
    return Group(*parts)


def _workers(workers: list[Worker]) -> RenderableType:
    if not workers:
        return Text("No worker is running.", style="red")
    table = cut_table("worker", "state", "model", "device", "busy")
    for worker in workers:
        state = worker.state if not worker.message else f"{worker.state}: {one_line(worker.message, 40)}"
        table.add_row(worker.name, state, _models_of(worker), device_of(worker), f"{worker.running} of {worker.capacity}")
    return table


def _models_of(worker: Worker) -> str:
    """Return the models that the worker serves, the one that is loaded first."""
    others = [model.id for model in worker.models if model.id != worker.model]
    return f"{worker.model} (also {', '.join(others)})" if others else worker.model


def _running(jobs: list[Job]) -> Table:
    """Return the jobs with the end of their ids, as `imagefarm top` does: whole ones leave no room for the worker's name."""
    table = cut_table("running", "worker", "", "progress", "prompt")
    for job in jobs:
        value = job.progress.value if job.progress is not None else 0.0
        bar = ProgressBar(total=1.0, completed=value, width=10)
        prompt = Text(one_line(str(job.input.get("prompt", "")), 40))
        table.add_row(job.id[-8:], job.worker or "", bar, status_text(job), prompt)
    return table


def _waiting(data: DashboardData) -> Table:
    etas = {row.model: row.eta_seconds for row in data.queue.models}
    table = cut_table("waiting (newest first)", "model", "waits", "queue done in", "prompt")
    for job in data.waiting:
        prompt = Text(one_line(str(job.input.get("prompt", "")), 40))
        table.add_row(job.id, job.model, ago(job.created_at), seconds(etas.get(job.model)), prompt)
    return table
