"""Stream a job as OpenAI's events: previews as partial images, then each finished image."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from fastapi.sse import format_sse_event
from PIL import Image as Pillow

from api.disconnects import cancel_unstarted
from api.farm import Farm
from api.openai.answer import base64_of, size_of, usage_of
from api.openai.errors import error_body
from api.openai.quality import echoed
from api.openai.request import ImageOptions
from api.polling import read
from api.submission import StillRunning, error_of_job
from api.threads import in_thread
from api.views.jobs import progress_view
from api.watch import Subscription
from core.errors import FarmError
from core.imagefile import open_rgb
from core.lifecycle import SETTLED, JobStatus
from db.jobs.read import Snapshot
from db.jobs.submit import Submitted
from db.tables import Job

KEEP_ALIVE_SECONDS = 15.0
_MAX_PREVIEW_PIXELS = 4096 * 4096


@dataclass
class ImageStream:
    """The events of one job for the client that submitted it. While nothing happens it holds no thread or connection.

    `name`: `image_generation` or `image_edit`. `keep`: the job outlives its client, who can ask for it again.
    """

    farm: Farm
    submitted: Submitted
    wanted: ImageOptions
    warnings: Sequence[str]
    name: str
    keep: bool
    _sent: dict[int, list[int]] = field(default_factory=dict)
    """Checksums of the previews that were sent of each image."""

    async def events(self) -> AsyncIterator[bytes]:
        """Yield events until the job has settled, or one `error` event when it does not succeed."""
        job_id = self.submitted.job.id
        settled = False
        try:
            with self.farm.watcher.hub.subscribe(job_id) as subscription:
                async for chunk in self._partial_images(subscription):
                    yield chunk
            snapshot = await read(self.farm, job_id, None)
            settled = snapshot.job.status in SETTLED
            async for chunk in self._end(snapshot):
                yield chunk
        except FarmError as error:
            settled = True
            yield _event("error", {"error": error_body(error)})
        finally:
            if not settled and not self.keep and not self.farm.closing.is_set():
                _in_background(cancel_unstarted(self.farm, job_id))

    async def _partial_images(self, subscription: Subscription) -> AsyncIterator[bytes]:
        """Yield previews and keep-alives until the job has settled or the process stops."""
        job_id = self.submitted.job.id
        snapshot = await read(self.farm, job_id, None)
        while snapshot.job.status not in SETTLED and not self.farm.closing.is_set():
            subscription.revision = max(subscription.revision, snapshot.job.revision)
            if snapshot.job.status == JobStatus.RUNNING and self.wanted.partial_images:
                report = subscription.progress or await self.farm.watcher.progress_of(job_id)
                async for chunk in self._fresh(snapshot.job, report):
                    yield chunk
            if not await subscription.wait(KEEP_ALIVE_SECONDS):
                yield format_sse_event(comment="keep-alive")
            if subscription.revision > snapshot.job.revision or subscription.job_deleted:
                snapshot = await read(self.farm, job_id, None)

    async def _fresh(self, job: Job, report: dict[str, Any] | None) -> AsyncIterator[bytes]:
        """Yield each image's next preview once the job is far enough: the previews are spread over its steps."""
        shown = progress_view(job, report)
        if shown is None:
            return
        most = self.wanted.partial_images or 0
        for index in range(int(job.input.get("num_images", 1))):
            sent = self._sent.setdefault(index, [])
            if len(sent) >= most or shown.value < (len(sent) + 1) / (most + 1):
                continue
            preview = await self.farm.watcher.preview_of(job.id, index)
            if preview is None or (mark := zlib.crc32(preview)) in sent:
                continue
            sent.append(mark)
            async with self.farm.decoding:
                text = await in_thread(_partial, preview, job, self.wanted)
            yield _event(
                f"{self.name}.partial_image",
                self._common(job) | {"b64_json": text, "partial_image_index": len(sent) - 1, "image_index": index},
            )

    async def _end(self, snapshot: Snapshot) -> AsyncIterator[bytes]:
        job = snapshot.job
        if job.status not in SETTLED:
            raise StillRunning(job)
        if job.status != JobStatus.SUCCEEDED:
            raise error_of_job(job)
        for image in snapshot.images:
            more: dict[str, Any] = {
                "b64_json": await base64_of(self.farm, image, self.wanted),
                "usage": usage_of(job.input, 1).model_dump(),
                "image_index": image.index,
                "seed": image.seed,
                "image_id": image.id,
                "job_id": job.id,
                "model": job.model,
                "warnings": [*job.warnings, *self.warnings],
            }
            chunk = await in_thread(_event, f"{self.name}.completed", self._common(job) | more)
            yield chunk

    def _common(self, job: Job) -> dict[str, Any]:
        return {
            "created_at": int(time.time()),
            "size": size_of(job.input),
            "quality": echoed(self.wanted.quality),
            "background": "opaque",
            "output_format": self.wanted.output_format or "png",
        }


def _event(name: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps({"type": name, **data}))


def _partial(preview: bytes, job: Job, wanted: ImageOptions) -> str:
    """Return a preview at the image's size and in its format, as base64."""
    image = open_rgb(preview, max_pixels=_MAX_PREVIEW_PIXELS)
    full = image.resize((job.input["width"], job.input["height"]), Pillow.Resampling.BILINEAR)
    file = BytesIO()
    full.save(file, wanted.output_format or "png", **({} if wanted.output_format else {"compress_level": 1}))
    return base64.b64encode(file.getvalue()).decode()


_background: set[asyncio.Task[None]] = set()


def _in_background(work: Any) -> None:  # noqa: ANN401 -- any coroutine
    """Run a coroutine after its request has ended: the request's own task is being canceled."""
    task = asyncio.get_running_loop().create_task(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
