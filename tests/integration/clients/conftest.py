"""Fixture: one API with keys for all tests of a file, a worker of the demo model and one that enlarges."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from PIL import Image

from core.api_keys import Scope
from core.catalogue.upscalers import list_upscalers
from core.queue import UPSCALE
from core.settings import Settings
from db.api_keys import NewKey, create_key
from db.jobs.finish import finish_canceled
from db.tables import Job
from db.workers import heartbeat
from tests.conftest import Migrate
from tests.integration.api.running import WorkerSide, long_lives, serving
from tests.servers.redis import RedisServer


@dataclass
class ClientFarm:
    """A running API, the key of its clients, and what stands in for its workers."""

    url: str
    key: str
    settings: Settings
    worker: WorkerSide
    upscaler: WorkerSide
    http: httpx.Client

    def claimed(self) -> Job:
        """Return the next job of the demo model, once there is one."""
        while (job := self.worker.claim()) is None:
            pass
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as the native API shows it."""
        found: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").json()
        return found

    def newest(self) -> dict[str, Any]:
        """Return the newest job as the native API shows it."""
        found: dict[str, Any] = self.http.get("/v1/jobs?limit=1").json()["items"][0]
        return found

    def end_canceled(self, job: Job) -> None:
        """End a job as a worker does at its next step after a cancel."""
        canceled = finish_canceled(self.worker.database, job.id, job.attempt)
        assert canceled is not None
        self.worker.publish(canceled)

    def preview(self, job: Job, color: str, index: int = 0, **progress: object) -> None:
        """Report a preview and then the progress of a job."""
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), color).save(buffer, "JPEG", quality=95)
        self.worker.redis.set(self.worker.keys.preview(job.id, index), buffer.getvalue())
        self.worker.progress(job, **progress)

    def ready(self) -> None:
        """Report that both workers live, with the packaged upscalers."""
        shown = {"title", "about", "licence", "origin", "scales"}
        own = {row.id: row.model_dump(mode="json", include=shown) for row in list_upscalers([])}
        for side in (self.worker, self.upscaler):
            heartbeat(side.database, side.name, "run-1", state="ready", info={"upscalers": own})


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, migrate: Migrate) -> Iterator[ClientFarm]:
    """Run the API over SQLite; its clients need a key."""
    folder = tmp_path_factory.mktemp("clients")
    database_url = f"sqlite:///{folder / 'farm.db'}"
    migrate(database_url)
    settings = Settings(
        _env_file=None,
        data_dir=folder / "data",
        database_url=database_url,
        redis_url=redis_server.url,
        redis_prefix=f"{folder.name}:",
        max_images_per_job=4,
    )
    with ExitStack() as opened:
        opened.enter_context(long_lives())
        worker, upscaler = WorkerSide(settings), WorkerSide(settings, UPSCALE, "box-upscale")
        opened.callback(worker.close)
        opened.callback(upscaler.close)
        key = create_key(worker.database, NewKey(name="client", scopes=tuple(Scope)))[1]
        url = opened.enter_context(serving(settings))
        headers = {"Authorization": f"Bearer {key}"}
        client = opened.enter_context(httpx.Client(base_url=url, headers=headers, timeout=120))
        found = ClientFarm(url, key, settings, worker, upscaler, client)
        found.ready()
        yield found


def png(width: int = 64, height: int = 64, color: object = "red", mode: str = "RGB") -> bytes:
    """Return a plain image as a PNG."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height), color).save(buffer, "PNG")  # type: ignore[arg-type]
    return buffer.getvalue()


def holed(width: int = 64, height: int = 64, box: tuple[int, int, int, int] = (0, 0, 32, 32)) -> bytes:
    """Return a PNG that is transparent in `box` and opaque elsewhere."""
    buffer, image = io.BytesIO(), Image.new("RGBA", (width, height), "white")
    image.paste((0, 0, 0, 0), box)
    image.save(buffer, "PNG")
    return buffer.getvalue()


def encoded(data: bytes) -> str:
    """Return base64."""
    return base64.b64encode(data).decode()


def opened(text: str | None) -> Image.Image:
    """Return the image in base64."""
    image = Image.open(io.BytesIO(base64.b64decode(text or "")))
    image.load()
    return image


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, data) of the events in a stream's text."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found
