"""A real API server in a thread of the test's process, and a simulated worker on the real database."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow
from redis import Redis

from api.http_limits import HttpLimits
from api.server import make_server
from core.imagefile import ImageMetadata, encode
from core.parameters.seeds import seeds_of
from core.queue import RedisKeys, changes_message
from core.settings import Settings
from core.storage import ImageStore, LocalImageStore, image_key
from db.database import Database
from db.jobs.claim import Claimant, claim_next
from db.jobs.finish import finish_error
from db.jobs.read import change_of
from db.jobs.succeed import StoredImage, finish_succeeded
from db.tables import Job
from db.workers import Registration, heartbeat, register


@contextmanager
def serving(settings: Settings, limits: HttpLimits | None = None) -> Iterator[str]:
    """Run a server; yield its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        instance = make_server(settings, limits)
        thread = threading.Thread(target=instance.run, args=([listener],), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        _wait_up(url)
        try:
            yield url
        finally:
            instance.should_exit = True
            thread.join(120)
            assert not thread.is_alive(), "the server did not stop"


def _wait_up(url: str) -> None:
    # The socket listens already: the request waits in its backlog until the server accepts it.
    assert httpx.get(f"{url}/healthz", timeout=120).status_code == 200


@contextmanager
def long_lives() -> Iterator[pytest.MonkeyPatch]:
    """Let simulated workers, which report once, stay alive for an hour."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("db.workers", "db.nodes", "db.jobs.finish"):
            patch.setattr(f"{module}.LIVE_SECONDS", 3600.0)
        yield patch


class WorkerSide:
    """Simulated worker: changes the database, the store and Redis as a worker does, one step per call."""

    def __init__(self, settings: Settings, model: str = "demo", name: str = "box-cpu", capacity: int = 2) -> None:
        self.settings, self.model, self.name = settings, model, name
        self.record: dict[str, Any] = {"device": "cpu"}
        self.database = Database(settings.resolved_database_url)
        self.store: ImageStore = LocalImageStore(settings.images_dir)
        self.redis = Redis.from_url(settings.redis_url)
        self.keys = RedisKeys(settings.redis_prefix)
        register(self.database, Registration(name, "run-1", model, "cpu", capacity))

    def ready(self) -> None:
        """Report that the model is loaded."""
        assert heartbeat(self.database, self.name, "run-1", state="ready") is not None

    def claim(self) -> Job | None:
        """Claim the next job."""
        job = claim_next(self.database, self.model, Claimant(self.name, "run-1", 3600.0))
        if job is not None:
            self.publish(job)
        return job

    def progress(self, job: Job, **report: object) -> None:
        """Report the progress of a job."""
        key, text = self.keys.progress(job.id), json.dumps({"attempt": job.attempt, **report})
        self.redis.set(key, text)
        self.redis.publish(key, text)

    def finish(self, job: Job, *, publish: bool = True) -> Job:
        """Store a plain image for each index and finish the job."""
        images = [self._store(job, index) for index in range(job.input["num_images"])]
        done = finish_succeeded(self.database, job.id, job.attempt, images, {"rendering_seconds": 0.5})
        assert done is not None
        if publish:
            self.publish(done)
        return done

    def fail(self, job: Job, code: str = "non_finite_latents", message: str = "The numbers overflowed.") -> Job:
        """Finish the attempt with an error."""
        ended = finish_error(self.database, job.id, job.attempt, code, message)
        assert ended is not None
        self.publish(ended)
        return ended

    def publish(self, job: Job) -> None:
        """Publish the job's revision, as a worker does after a commit."""
        self.redis.publish(self.keys.changes, changes_message([change_of(job)]))

    @contextmanager
    def working(self, idle_seconds: float = 0.02) -> Iterator[None]:
        """Finish every queued job, in the background; look for one again after `idle_seconds`."""
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                if (job := self.claim()) is not None:
                    self.finish(job)
                else:
                    stop.wait(idle_seconds)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(120)

    def close(self) -> None:
        self.redis.close()
        self.database.dispose()

    def _store(self, job: Job, index: int) -> StoredImage:
        buffer = io.BytesIO()
        width, height = job.input["width"], job.input["height"]
        parameters = {"prompt": "", "num_inference_steps": 0, "guidance_scale": 1.0}  # Of an enlarged upload.
        metadata = ImageMetadata(
            **{name: job.input.get(name, value) for name, value in parameters.items()},
            **seeds_of(job.input, index),
            width=width,
            height=height,
            model=job.model,
            random_weights=True,
        )
        buffer.write(encode(Pillow.new("RGB", (width, height), (20 * index, 90, 160)), metadata))
        key = image_key(job.id, job.attempt, index)
        stored = self.store.put(key, buffer.getvalue())
        return StoredImage(
            index=index, key=key, width=width, height=height, seed=seeds_of(job.input, index)["seed"], format="png",
            bytes=stored.bytes, sha256=stored.sha256, record=self.record,
        )  # fmt: skip
