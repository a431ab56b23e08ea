"""Fetch the farm's state at one moment and render it as tables for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from core.errors import Gone, NotFound
from core.lifecycle import JobStatus
from core.schemas.base import ResponseBody
from core.schemas.jobs import Job
from core.schemas.workers import Queue, Worker
from imagefarm import ImageFarm
from imagefarm.formatting import ago, one_line, seconds, status_text

SHOWN = 10


class DashboardData(ResponseBody):
    """The farm at one moment: the live workers, the running jobs (some) and the newest of those that wait."""

    url: str
    workers: list[Worker]
    queue: Queue
    running: list[Job]
    waiting: list[Job]


def fetch_dashboard(farm: ImageFarm) -> DashboardData:
    """Asks the farm; a running job is asked for by itself, since lists do not tell its steps."""
    running = [_whole(farm, job) for job in farm.jobs(status=[JobStatus.RUNNING], limit=SHOWN)]
    return DashboardData(
        url=farm.url,
        workers=[worker for worker in farm.workers().items if worker.live],
        queue=farm.queue(),
        running=[job for job in running if job is not None],
        waiting=list(farm.jobs(status=[JobStatus.QUEUED], limit=SHOWN)),
    )


def _whole(farm: ImageFarm, job: Job) -> Job | None:
    try:
        return farm.get(job)
    except (NotFound, Gone):
        return None


def render_dashboard(glance: DashboardData) -> RenderableType:
    """Tables for a terminal."""
    queue = glance.queue
    head = Text(f"{glance.url}   {queue.running} running, {queue.queued} waiting, {queue.held} held", style="bold")
    parts: list[RenderableType] = [head, Text(), _workers(glance.workers)]
    parts += [Text(f"{row.model}: {row.reason}", style="red") for row in queue.models if row.reason]
    if glance.running:
        parts += [Text(), _running(glance.running)]
    if glance.waiting:
        parts += [Text(), _waiting(glance)]
    return Group(*parts)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    return table


def _workers(workers: list[Worker]) -> RenderableType:
    if not workers:
        return Text("No worker is up.", style="red")
    table = _table("worker", "state", "model", "device", "busy")
    for worker in workers:
        state = worker.state if not worker.message else f"{worker.state}: {one_line(worker.message, 40)}"
        table.add_row(worker.name, state, worker.model, worker.device, f"{worker.running} of {worker.capacity}")
    return table


def _running(jobs: list[Job]) -> Table:
    table = _table("running", "worker", "progress", "", "prompt")
    for job in jobs:
        value = job.progress.value if job.progress is not None else 0.0
        bar = ProgressBar(total=1.0, completed=value, width=20)
        table.add_row(job.id, job.worker or "", bar, status_text(job), Text(one_line(str(job.input.get("prompt", "")), 40)))
    return table


def _waiting(glance: DashboardData) -> Table:
    etas = {row.model: row.eta_seconds for row in glance.queue.models}
    table = _table("waiting (newest first)", "model", "waits", "all done in", "prompt")
    for job in glance.waiting:
        prompt = Text(one_line(str(job.input.get("prompt", "")), 40))
        table.add_row(job.id, job.model, ago(job.created_at), seconds(etas.get(job.model)), prompt)
    return table
