"""Fetch the farm's workers with their jobs and GPUs, and render them as one table for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.jobs.dashboard import fetch_if_there
from cli.tables import cut_table, device_of
from core.lifecycle import JobStatus
from core.schemas.base import ResponseBody
from core.schemas.jobs import Job
from core.schemas.workers import Queue, Worker
from imagefarm import ImageFarm
from imagefarm.formatting import one_line, seconds

MOST_JOBS = 200
GIBIBYTE = 2**30


class RunningJob(ResponseBody):
    """A job that a worker holds. `progress`: 0 to 1."""

    id: str
    model: str
    prompt: str
    progress: float
    eta_seconds: float | None


class TopWorker(ResponseBody):
    """A worker with its jobs. Figures of its GPU are None where its driver reports none."""

    name: str
    state: str
    message: str | None
    device: str
    model: str
    running: int
    capacity: int
    temperature_celsius: float | None
    utilization: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None
    power_watts: float | None
    jobs: list[RunningJob]


class TopData(ResponseBody):
    """Live workers, with at most MOST_JOBS of the jobs that the caller may see, and the queue."""

    url: str
    workers: list[TopWorker]
    queue: Queue


def fetch_top(farm: ImageFarm) -> TopData:
    """Fetch the state; running jobs one by one, because the list of jobs has no progress."""
    running: dict[str, list[RunningJob]] = {}
    for listed in farm.jobs(status=[JobStatus.RUNNING], limit=MOST_JOBS):
        if (job := fetch_if_there(farm, listed)) is not None and job.worker is not None:
            running.setdefault(job.worker, []).append(_running(job))
    workers = [_worker(each, running.get(each.name, [])) for each in farm.workers().items if each.live]
    return TopData(url=farm.url, workers=workers, queue=farm.queue())


def _running(job: Job) -> RunningJob:
    progress = job.progress
    return RunningJob(
        id=job.id,
        model=job.model,
        prompt=str(job.input.get("prompt", "")),
        progress=progress.value if progress is not None else 0.0,
        eta_seconds=progress.eta_seconds if progress is not None else None,
    )


def _worker(worker: Worker, jobs: list[RunningJob]) -> TopWorker:
    gpu = worker.info.get("gpu") or {}
    measured = ("temperature_celsius", "utilization", "memory_used_bytes", "memory_total_bytes", "power_watts")
    return TopWorker(
        name=worker.name,
        state=worker.state,
        message=worker.message,
        device=device_of(worker),
        model=worker.model,
        running=worker.running,
        capacity=worker.capacity,
        jobs=jobs,
        **{name: gpu.get(name) for name in measured},
    )


def render_top(data: TopData) -> RenderableType:
    """Return one table: a row for each worker, and one for each of its jobs below it; then the queue."""
    queue = data.queue
    head = Text(f"{data.url}   {queue.running} running, {queue.queued} waiting, {queue.held} held", style="bold")
    parts: list[RenderableType] = [head, Text()]
    parts.append(_workers(data.workers) if data.workers else Text("No worker is running.", style="red"))
    return Group(*parts, Text(), _queue(queue))


def _workers(workers: list[TopWorker]) -> Table:
    """Return the table; the column of GPUs is left out where no driver reports one, for narrow terminals."""
    has_gpu = any(worker.temperature_celsius is not None or worker.memory_used_bytes is not None for worker in workers)
    table = cut_table(
        "worker", "state", "model", "device", "busy", *(("temperature, load, memory, power",) if has_gpu else ())
    )
    for worker in workers:
        state = worker.state if not worker.message else f"{worker.state}: {one_line(worker.message, 40)}"
        row = (
            Text(worker.name, style="bold"),
            Text(state, style="" if worker.state == "ready" else "yellow"),
            worker.model,
            worker.device,
            f"{worker.running} of {worker.capacity}",
        )
        table.add_row(*row, *((_gpu(worker),) if has_gpu else ()))
        for job in worker.jobs:
            bar = ProgressBar(total=1.0, completed=job.progress, width=12)
            left = f" {seconds(job.eta_seconds)} left" if job.eta_seconds is not None else ""
            prompt = Text(one_line(job.prompt, 40), style="dim")
            table.add_row(f"  {job.id[-8:]}", prompt, job.model, bar, f"{job.progress:.0%}{left}")
    return table


def _queue(queue: Queue) -> Table:
    table = cut_table("queue", "waiting", "running", "held", "workers", "done in", "")
    for row in queue.models:
        counts = (str(row.queued), str(row.running), str(row.held), str(row.live_workers))
        table.add_row(row.model, *counts, seconds(row.eta_seconds), Text(row.reason or "", style="red"))
    return table


def _gpu(worker: TopWorker) -> str:
    """Return such as `63 °C, 87 %, 20.0 of 24 GiB, 312 W`, with what its driver reports."""
    used, total = worker.memory_used_bytes, worker.memory_total_bytes
    parts = (
        None if worker.temperature_celsius is None else f"{worker.temperature_celsius:.0f} °C",
        None if worker.utilization is None else f"{worker.utilization:.0%}",
        None if used is None or total is None else f"{used / GIBIBYTE:.1f} of {total / GIBIBYTE:.0f} GiB",
        None if worker.power_watts is None else f"{worker.power_watts:.0f} W",
    )
    return ", ".join(part for part in parts if part) or "-"
