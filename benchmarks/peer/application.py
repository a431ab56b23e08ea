"""The peer's API and its Celery task, as a tutorial would write them: a row, a task, an fsynced picture.

No leases, history, fair order, limits, validation of values, events or restarts. Configured by PEER_DATABASE, PEER_REDIS and
PEER_PICTURES.
"""

from __future__ import annotations

import io
import os
import uuid
from pathlib import Path

from celery import Celery
from fastapi import FastAPI, HTTPException
from PIL import Image
from pydantic import BaseModel

from benchmarks.peer.store import PictureStore

_FOLDER = Path(os.environ["PEER_PICTURES"])

store = PictureStore(os.environ["PEER_DATABASE"])
celery = Celery("peer", broker=os.environ["PEER_REDIS"])
celery.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)
app = FastAPI()


class PictureRequest(BaseModel):
    """What to render."""

    prompt: str
    width: int = 64
    height: int = 64
    num_inference_steps: int = 1
    seed: int = 0


@app.post("/v1/jobs", status_code=202)
def submit(request: PictureRequest) -> dict[str, str]:
    """Store a row and send a task."""
    picture_id = str(uuid.uuid4())
    store.add(picture_id, request.prompt, request.seed)
    render.delay(picture_id, request.seed, request.width, request.height)
    return {"id": picture_id, "status": "queued"}


@app.get("/v1/jobs/{picture_id}")
def poll(picture_id: str) -> dict[str, object]:
    """Return the row."""
    if (found := store.read(picture_id)) is None:
        raise HTTPException(404)
    return found


@app.get("/v1/queue")
def waiting() -> dict[str, int]:
    """Return how many are not done."""
    return {"queued": store.unfinished(), "running": 0}


@celery.task(name="render")  # type: ignore[untyped-decorator]
def render(picture_id: str, seed: int, width: int, height: int) -> None:
    """Paint a plain picture, store it durably and finish the row."""
    store.start(picture_id)
    data = io.BytesIO()
    Image.new("RGB", (width, height), seed % 0xFFFFFF).save(data, "PNG")
    path = _FOLDER / f"{picture_id}.png"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(data.getvalue())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    store.finish(picture_id, str(path))
