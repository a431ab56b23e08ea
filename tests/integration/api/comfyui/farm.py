"""What the tests of ComfyUI's calls ask of a running API, and its sockets."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import websocket
from PIL import Image, ImageDraw

from core.settings import Settings
from db.jobs.finish import finish_canceled
from db.tables import Job
from tests import comfyui_graphs as graphs
from tests.integration.api.running import WorkerSide

SECONDS = 120
MODELS = ("demo", "z-image-turbo", "sd15", "sdxl")
Event = dict[str, Any]


class Farm:
    """A running API, and a simulated worker of each model."""

    def __init__(self, settings: Settings, url: str, workers: dict[str, WorkerSide]) -> None:
        self.settings, self.url, self.workers = settings, url, workers
        self.http = httpx.Client(base_url=url, timeout=SECONDS)
        self.claimed: list[tuple[WorkerSide, Job]] = []

    @property
    def worker(self) -> WorkerSide:
        return self.workers["demo"]

    def claim(self, model: str = "demo") -> Job:
        job = self.workers[model].claim()
        assert job is not None
        self.claimed.append((self.workers[model], job))
        return job

    def cancel(self, side: WorkerSide, job: Job) -> None:
        """End a running job after a cancel request, as its worker does; nothing when it has ended."""
        if (canceled := finish_canceled(side.database, job.id, job.attempt)) is not None:
            side.publish(canceled)

    def queue(self, graph: graphs.Graph, **fields: object) -> str:
        answer = self.http.post("/prompt", json={"prompt": graph, **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prompt_id"])

    def history(self, prompt_id: str) -> dict[str, Any]:
        """Return the entry of a prompt that has ended, whose end was announced."""
        entry: dict[str, Any] = self.http.get(f"/history/{prompt_id}").json()[prompt_id]
        return entry


@contextmanager
def socket_of(farm: Farm, client_id: str, path: str = "/ws", **options: Any) -> Iterator[websocket.WebSocket]:  # noqa: ANN401
    """Connect as ComfyUI's script_examples do, and take the first message."""
    ws = websocket.WebSocket()
    try:
        ws.connect(f"ws{farm.url.removeprefix('http')}{path}?clientId={client_id}", timeout=SECONDS, **options)
    except websocket.WebSocketBadStatusException:
        ws.shutdown()
        raise
    first = json.loads(ws.recv())
    assert (first["type"], first["data"]["sid"]) == ("status", client_id)
    assert "queue_remaining" in first["data"]["status"]["exec_info"]
    try:
        yield ws
    finally:
        ws.close()


def events_to_end(ws: websocket.WebSocket, prompt_id: str) -> list[Event | bytes]:
    """Return all messages up to the one that says that the prompt has ended."""
    found: list[Event | bytes] = []
    while True:
        message = ws.recv()
        if isinstance(message, bytes):
            found.append(message)
            continue
        event = json.loads(message)
        found.append(event)
        if event["type"] == "executing" and event["data"] == {"node": None, "prompt_id": prompt_id}:
            return found


def types(events: list[Event | bytes]) -> list[str]:
    return [event["type"] for event in events if isinstance(event, dict) and event["type"] != "status"]


def tiny(name: str = "demo.safetensors", **changes: Any) -> graphs.Graph:  # noqa: ANN401
    return graphs.checkpoint_template(name, 64, seed=5, steps=4, cfg=1, **changes)


def png(side: int = 64, *, hole: bool = False) -> bytes:
    image = Image.new("RGBA", (side, side), (200, 30, 30, 255))
    if hole:
        ImageDraw.Draw(image).rectangle((8, 8, 39, 39), fill=(0, 0, 0, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def upload(farm: Farm, data: bytes, name: str = "photo.png", path: str = "/upload/image", **fields: str) -> dict[str, str]:
    answer = farm.http.post(path, files={"image": (name, data, "image/png")}, data=fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def wait_claim(farm: Farm, model: str = "demo") -> Job:
    """Return the next job, which is submitted soon: its change is published."""
    side = farm.workers[model]
    with side.redis.pubsub() as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(side.keys.changes)
        while True:
            if (job := side.claim()) is not None:
                farm.claimed.append((side, job))
                return job
            message = channel.get_message(timeout=SECONDS)
            assert message is not None, "no job was submitted"


def ended(farm: Farm, prompt_id: str) -> dict[str, Any]:
    """Return the history of a prompt, once its end was announced to a socket."""
    with socket_of(farm, "watcher") as ws:
        while not (found := farm.http.get(f"/history/{prompt_id}").json()):
            ws.recv()
    return found  # type: ignore[no-any-return]
