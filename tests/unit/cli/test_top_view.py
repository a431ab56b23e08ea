"""What `imagefarm top` draws of a worker with a GPU, one without, and the queue."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from cli.jobs.top_view import RunningJob, TopData, TopWorker, render_top
from core.schemas.workers import Queue, QueueOfModel

GPU: dict[str, Any] = {
    "temperature_celsius": 63,
    "utilization": 0.87,
    "memory_used_bytes": 20 * 2**30,
    "memory_total_bytes": 24 * 2**30,
    "power_watts": 312.4,
}
NONE: dict[str, Any] = dict.fromkeys(GPU)


def drawn(*workers: TopWorker) -> str:
    row = QueueOfModel(
        model="demo", queued=3, running=1, held=0, live_workers=2, capacity=8, seconds_per_job=2, eta_seconds=6
    )
    queue = Queue(queued=3, running=1, held=0, models=[row])
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render_top(TopData(url="http://farm", workers=list(workers), queue=queue)))
    return console.export_text()


def worker(name: str, gpu: dict[str, Any], *jobs: RunningJob) -> TopWorker:
    return TopWorker(
        name=name, state="ready", message=None, device="NVIDIA H200", model="demo", running=len(jobs), capacity=4,
        jobs=list(jobs), **gpu,
    )  # fmt: skip


def test_a_worker_shows_its_gpu_and_its_jobs() -> None:
    job = RunningJob(id="0199-abcdefgh", model="demo", prompt="a red fox", progress=0.5, eta_seconds=4.0)
    lines = drawn(worker("box-1", GPU, job), worker("box-2", NONE)).splitlines()
    (first,) = (line for line in lines if line.startswith("box-1"))
    for shown in ("ready", "demo", "NVIDIA H200", "1 of 4", "63 °C", "87%", "20.0 of 24 GiB", "312 W"):
        assert shown in first
    below = lines[lines.index(first) + 1]
    for shown in ("abcdefgh", "a red fox", "50%"):
        assert shown in below
    (second,) = (line for line in lines if line.startswith("box-2"))
    assert "°C" not in second
    assert any(line.split()[:4] == ["demo", "3", "1", "0"] for line in lines)


def test_a_farm_without_workers_says_so() -> None:
    assert "No worker is running." in drawn()
