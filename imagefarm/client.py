"""The public client class `ImageFarm`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from core.errors import FarmError
from core.lifecycle import JobKind, JobStatus
from core.refine_mode import RefineMode
from core.schemas.batches import Batch, BatchRequest
from core.schemas.farm import Health, Readiness
from core.schemas.images import Image, ImageParameters, Upload
from core.schemas.jobs import Job, JobHistory, JobPage, JobRequest, Output
from core.schemas.loras import LoraList
from core.schemas.models import ModelList, PresetList, RecipeList
from core.schemas.refine import Lineage, RefineRequest
from core.schemas.workers import Queue, WorkerList
from imagefarm.address import find_address
from imagefarm.batches import Batches
from imagefarm.events import JobEvent, follow, wait_until_settled
from imagefarm.exports import download_export
from imagefarm.image_folder import ImageFolder, SavedImage
from imagefarm.job_requests import (
    SUBMIT_PATH,
    idempotency_headers,
    media_type,
    read_image_file,
    refine_request_from,
    request_of,
)
from imagefarm.models import ModelManagement
from imagefarm.nodes import Nodes
from imagefarm.styles import Styles
from imagefarm.transport import Transport
from imagefarm.upscales import Upscales
from imagefarm.workers import WorkerManagement

PAGE = 200


class ImageFarm:
    """A client of the farm at `url` (default IMAGEFARM_URL) with `api_key` (default IMAGEFARM_API_KEY); safe for threads.

    Requests are retried for `retry_seconds` while the farm is unavailable or full. Calls raise the errors of `core.errors`
    with the codes that the farm sent. `label` names the program: each label gets a fair share of the queue.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retry_seconds: float = 60.0,
        label: str | None = None,
    ) -> None:
        self._transport = Transport(find_address(url, api_key), retry_seconds, label)
        self.batches = Batches(self._transport)
        self.upscales = Upscales(self._transport, self.upload)
        self.model_management = ModelManagement(self._transport)
        self.styles = Styles(self._transport)
        self.nodes = Nodes(self._transport)
        self.worker_management = WorkerManagement(self._transport)

    @property
    def url(self) -> str:
        """Return the address of the farm."""
        return self._transport.url

    def submit(self, request: JobRequest | str, *, idempotency_key: str | None = None, **fields: Any) -> Job:  # noqa: ANN401
        """Submit a job: a prompt with `fields` of JobRequest such as `width=512`, or a JobRequest.

        Repeated calls with the same `idempotency_key` return the same job. Without one, the call generates a key, so
        that its own retries never create a second job. Raises InvalidInput, Conflict `model_not_served`,
        TooManyRequests, Unavailable.
        """
        body = request_of(request, fields).as_sent()
        return self._transport.read(Job, "POST", SUBMIT_PATH, json=body, headers=idempotency_headers(idempotency_key))

    def batch(self, request: BatchRequest | list[str], *, idempotency_key: str | None = None, **fields: Any) -> Batch:  # noqa: ANN401
        """Submit many jobs under one id: `farm.batch(["by day", "by night"], seeds=[1, 2])`; see `batches`."""
        return self.batches.submit(request, idempotency_key=idempotency_key, **fields)

    def get(self, job: Job | str) -> Job:
        """Return the current state of the job."""
        return self._transport.read(Job, "GET", _path(job))

    def wait(
        self, job: Job | str, *, timeout_seconds: float | None = None, on_progress: Callable[[Job], None] | None = None
    ) -> Job:
        """Return the job once it has ended; its `status` is how.

        Calls `on_progress` with the job at each change and step, at most a few times a second. Raises WaitTimeout
        after `timeout_seconds`; the job continues.
        """
        return wait_until_settled(self._transport, _path(job), timeout_seconds, on_progress)

    def events(self, job: Job | str, *, previews: bool = False) -> Iterator[JobEvent]:
        """Yield all events of the job until its end. Reconnects after a broken connection and misses no change of status."""
        return follow(self._transport, f"{_path(job)}/events", previews=previews)

    def jobs(
        self,
        *,
        status: Iterable[JobStatus | str] = (),
        model: str | None = None,
        kind: JobKind | None = None,
        query: str | None = None,
        mine: bool = False,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Yield jobs, newest first; `query`: words of the prompt. Fetches pages as needed."""
        params: dict[str, Any] = {"limit": min(limit or PAGE, PAGE), "mine": mine}
        params |= {"status": [str(item) for item in status], "model": model, "kind": kind, "q": query}
        cursor, remaining = None, limit
        while remaining is None or remaining > 0:
            query_params = {name: value for name, value in (params | {"cursor": cursor}).items() if value is not None}
            page = self._transport.read(JobPage, "GET", SUBMIT_PATH, params=query_params)
            items = page.items[:remaining]
            yield from items
            remaining = None if remaining is None else remaining - len(items)
            if (cursor := page.next_cursor) is None:
                return

    def history(self, job: Job | str) -> JobHistory:
        """Return the job's status changes and attempts."""
        return self._transport.read(JobHistory, "GET", f"{_path(job)}/history")

    def cancel(self, job: Job | str) -> Job:
        """Cancel a job: a waiting one at once, a running one at its next step. A job that has ended does not change."""
        return self._transport.read(Job, "POST", f"{_path(job)}/cancel")

    def refine(
        self,
        image: Output | Image | str,
        request: RefineRequest | RefineMode | str = RefineMode.HIRES,
        *,
        idempotency_key: str | None = None,
        **fields: Any,  # noqa: ANN401
    ) -> Job:
        """Submit a job that renders an image at a larger size: `farm.refine(image, "hires", width=1024, height=1024)`.

        `fields` are those of RefineRequest. Raises NotFound, Gone, InvalidInput, Conflict, TooManyRequests, Unavailable.
        """
        given = request.as_sent() if isinstance(request, RefineRequest) else {"mode": request}
        body = refine_request_from(given | fields).as_sent()
        headers = idempotency_headers(idempotency_key)
        return self._transport.read(Job, "POST", f"{_image_path(image)}/refine", json=body, headers=headers)

    def lineage(self, image: Output | Image | str) -> Lineage:
        """Return the images that an image was made from, and those made from it."""
        return self._transport.read(Lineage, "GET", f"{_image_path(image)}/lineage")

    def retry(self, job: Job | str) -> Job:
        """Requeue a held job, or submit a new copy of any other job that has ended. Raises Conflict while the job runs."""
        return self._transport.read(Job, "POST", f"{_path(job)}/retry", repeatable=False)

    def upload(self, image: Path | bytes) -> Upload:
        """Upload a PNG, JPEG or WebP image; pass its `id` as `init_image` or `mask` of a job, or enlarge it."""
        data = image if isinstance(image, bytes) else read_image_file(image)
        headers = {"Content-Type": media_type(data, image)}
        return self._transport.read(Upload, "POST", "/v1/uploads", content=data, headers=headers)

    def upscale(
        self,
        image: Output | Image | Path | bytes | str,
        *,
        scale: int = 4,
        upscaler: str | None = None,
        idempotency_key: str | None = None,
        **fields: Any,  # noqa: ANN401 -- of UpscaleRequest
    ) -> Job:
        """Submit a job that enlarges an image of the farm, by id, or a file, which is uploaded first.

        `fields`: of UpscaleRequest, such as `priority=7`. Raises like `submit`; Conflict `upscaler_not_served`.
        """
        return self.upscales.submit(image, scale=scale, upscaler=upscaler, idempotency_key=idempotency_key, **fields)

    def image(self, image: Output | str) -> Image:
        """Return an image's record with all parameters that produced it."""
        return self._transport.read(Image, "GET", f"/v1/images/{image if isinstance(image, str) else image.id}")

    def rate(self, image: Output | Image | str, rating: int | None) -> Image:
        """Rate an image with 1 to 5, or remove its rating with None."""
        path = f"/v1/images/{image if isinstance(image, str) else image.id}"
        return self._transport.read(Image, "PATCH", path, json={"rating": rating})

    def images(self, job: Job | str) -> list[Image]:
        """Return the records of a job's finished images, in order."""
        return [self.image(output) for output in self._with_outputs(job).outputs]

    def content(self, image: Output | Image | str) -> bytes:
        """Return the stored image file, with embedded metadata."""
        image_id = image if isinstance(image, str) else image.id
        return self._transport.send("GET", f"/v1/images/{image_id}/content", headers={"Accept": "*/*"}).content

    def download(self, job: Job | str, directory: Path | str, *, by_day: bool = False) -> list[Path]:
        """Save a job's images as `outputs_YYYYMMDDHHMMSS[_NN].png`, except those saved there before; return all paths."""
        folder = ImageFolder(Path(directory), by_day=by_day)
        return [saved.path for saved in self.save(job, folder)]

    def save(self, job: Job | str, folder: ImageFolder, *, restore: bool = True) -> list[SavedImage]:
        """Save a job's images into a folder that may hold images of many jobs; `restore`: see `ImageFolder.save`."""
        complete = self._with_outputs(job)
        made_at: datetime = complete.completed_at or complete.created_at
        return [
            folder.save(output, made_at, lambda output=output: self.content(output), restore=restore)  # type: ignore[misc]
            for output in complete.outputs
        ]

    def export(self, file: Path | str, **query: Any) -> int:  # noqa: ANN401
        """Write images as a zip and return its bytes; `query`: parameters of GET /v1/exports, such as `batch` or `q`."""
        given = {name: value for name, value in query.items() if value is not None}
        return download_export(self._transport, Path(file), given)

    def parameters(self, image: Path | bytes) -> ImageParameters:
        """Return how an image of any known program was made, as fields of a job."""
        data = image if isinstance(image, bytes) else read_image_file(image)
        headers = {"Content-Type": media_type(data, image)}
        return self._transport.read(ImageParameters, "POST", "/v1/parameters", content=data, headers=headers)

    def rerun(self, image: Output | Image | str) -> Job:
        """Submit the job of an image again, for that image alone; `warnings` of the new job say what differs now."""
        image_id = image if isinstance(image, str) else image.id
        return self._transport.read(Job, "POST", f"/v1/images/{quote(image_id, safe='')}/rerun", repeatable=False)

    def models(self) -> ModelList:
        """Return the model catalogue, the farm's default first, with the workers that serve each model."""
        return self._transport.read(ModelList, "GET", "/v1/models")

    def loras(self, name: str | None = None) -> LoraList:
        """Return the LoRAs that jobs may name; with `name`, the files of that name with their hashes."""
        path = "/v1/loras" if name is None else f"/v1/loras/{quote(name, safe='')}"
        return self._transport.read(LoraList, "GET", path)

    def presets(self) -> PresetList:
        """Return the presets that a request may name."""
        return self._transport.read(PresetList, "GET", "/v1/presets")

    def recipes(self, model: str | None = None) -> RecipeList:
        """Return the recipes that a request may name, with what they mean for one model or all."""
        params = {} if model is None else {"model": model}
        return self._transport.read(RecipeList, "GET", "/v1/recipes", params=params)

    def workers(self) -> WorkerList:
        """Return every worker that the farm has on record, live or not."""
        return self._transport.read(WorkerList, "GET", "/v1/workers")

    def queue(self) -> Queue:
        """Return how many jobs wait and run, per model."""
        return self._transport.read(Queue, "GET", "/v1/queue")

    def ready(self) -> Readiness:
        """Return whether jobs are accepted and rendered. Raises Unavailable when they are not accepted."""
        return self._transport.read(Readiness, "GET", "/readyz")

    def answers(self) -> bool:
        """Return whether a farm answers at this address; False for any other server."""
        try:
            self._transport.read(Health, "GET", "/healthz")
        except FarmError:
            return False
        return True

    def close(self) -> None:
        """Close the connections; retries in other threads stop."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _with_outputs(self, job: Job | str) -> Job:
        """Return the given job if it has succeeded, else its current state."""
        return job if isinstance(job, Job) and job.status is JobStatus.SUCCEEDED else self.get(job)


def _image_path(image: Output | Image | str) -> str:
    return f"/v1/images/{quote(image if isinstance(image, str) else image.id, safe='')}"


def _path(job: Job | str) -> str:
    return f"{SUBMIT_PATH}/{quote(job if isinstance(job, str) else job.id, safe='')}"
