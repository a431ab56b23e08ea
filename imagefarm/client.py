"""The typed client of a farm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from core.errors import FarmError
from core.lifecycle import JobStatus
from core.schemas.batches import Batch, BatchRequest
from core.schemas.farm import Health, Readiness
from core.schemas.images import Image, Upload
from core.schemas.jobs import Job, JobHistory, JobPage, JobRequest, Output
from core.schemas.models import ModelList, PresetList
from core.schemas.workers import Queue, WorkerList
from imagefarm.address import find_address
from imagefarm.batches import Batches
from imagefarm.events import JobEvent, follow, wait_until_settled
from imagefarm.image_folder import ImageFolder, SavedImage
from imagefarm.job_requests import SUBMIT_PATH, idempotency_headers, media_type, read_image_file, request_of
from imagefarm.transport import Transport

PAGE = 200


class ImageFarm:
    """Speaks to the farm at `url` (IMAGEFARM_URL) with `api_key` (IMAGEFARM_API_KEY); may be used by many threads.

    A farm that restarts, is away or is full is tried again for `retry_seconds`. Errors are those of `core.errors`,
    with the codes that the farm gave. `label` names the program: each label gets its fair share of the queue.
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

    @property
    def url(self) -> str:
        """The farm's address."""
        return self._transport.url

    def submit(self, request: JobRequest | str, *, idempotency_key: str | None = None, **fields: Any) -> Job:  # noqa: ANN401
        """Has a prompt rendered, with `fields` of JobRequest such as `width=512`; or a whole JobRequest.

        Safe to repeat under one `idempotency_key`; without one, this call makes its own, so that no trouble on the way
        makes two jobs of it. Raises InvalidInput, Conflict `model_not_served`, TooManyRequests, Unavailable.
        """
        body = request_of(request, fields).as_sent()
        return self._transport.read(Job, "POST", SUBMIT_PATH, json=body, headers=idempotency_headers(idempotency_key))

    def batch(self, request: BatchRequest | list[str], *, idempotency_key: str | None = None, **fields: Any) -> Batch:  # noqa: ANN401
        """Many jobs of one call, under one id: `farm.batch(["by day", "by night"], seeds=[1, 2])`; see `batches`."""
        return self.batches.submit(request, idempotency_key=idempotency_key, **fields)

    def get(self, job: Job | str) -> Job:
        """The job as it is now."""
        return self._transport.read(Job, "GET", _path(job))

    def wait(
        self, job: Job | str, *, timeout_seconds: float | None = None, on_progress: Callable[[Job], None] | None = None
    ) -> Job:
        """The job once it has ended, however it ended: look at its `status`.

        `on_progress` is called with the job at each change and step, some times a second at most. WaitTimeout when the
        time is over; the job goes on.
        """
        return wait_until_settled(self._transport, _path(job), timeout_seconds, on_progress)

    def events(self, job: Job | str, *, previews: bool = False) -> Iterator[JobEvent]:
        """The job's events until its end, from its beginning; a broken connection is taken up where it broke."""
        return follow(self._transport, f"{_path(job)}/events", previews=previews)

    def jobs(
        self,
        *,
        status: Iterable[JobStatus | str] = (),
        model: str | None = None,
        query: str | None = None,
        mine: bool = False,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Jobs, newest first; `query`: words of the prompt. Pages are fetched as you go."""
        params: dict[str, Any] = {"limit": min(limit or PAGE, PAGE), "mine": mine}
        params |= {"status": [str(item) for item in status], "model": model, "q": query}
        cursor, left = None, limit
        while left is None or left > 0:
            asked = {name: value for name, value in (params | {"cursor": cursor}).items() if value is not None}
            page = self._transport.read(JobPage, "GET", SUBMIT_PATH, params=asked)
            items = page.items[:left]
            yield from items
            left = None if left is None else left - len(items)
            if (cursor := page.next_cursor) is None:
                return

    def history(self, job: Job | str) -> JobHistory:
        """Everything that happened to the job."""
        return self._transport.read(JobHistory, "GET", f"{_path(job)}/history")

    def cancel(self, job: Job | str) -> Job:
        """At once while it waits, at the next step while it runs; a job that has ended stays as it is."""
        return self._transport.read(Job, "POST", f"{_path(job)}/cancel")

    def retry(self, job: Job | str) -> Job:
        """A held job is queued again; of any other that has ended a new one is made. Conflict while it goes on."""
        return self._transport.read(Job, "POST", f"{_path(job)}/retry", repeatable=False)

    def upload(self, picture: Path | bytes) -> Upload:
        """Sends a picture to start from: pass its `id` as `init_image` with a job. PNG, JPEG or WebP."""
        data = picture if isinstance(picture, bytes) else read_image_file(picture)
        headers = {"Content-Type": media_type(data)}
        return self._transport.read(Upload, "POST", "/v1/uploads", content=data, headers=headers)

    def image(self, image: Output | str) -> Image:
        """An image with everything that made it."""
        return self._transport.read(Image, "GET", f"/v1/images/{image if isinstance(image, str) else image.id}")

    def images(self, job: Job | str) -> list[Image]:
        """The finished images of a job, in order."""
        return [self.image(output) for output in self._with_outputs(job).outputs]

    def content(self, image: Output | Image | str) -> bytes:
        """The file as it is stored, its metadata inside."""
        image_id = image if isinstance(image, str) else image.id
        return self._transport.send("GET", f"/v1/images/{image_id}/content", headers={"Accept": "*/*"}).content

    def download(self, job: Job | str, directory: Path | str, *, by_day: bool = False) -> list[Path]:
        """Saves a job's images as `outputs_YYYYMMDDHHMMSS[_NN].png`; those that are there already are not saved again."""
        folder = ImageFolder(Path(directory), by_day=by_day)
        return [saved.path for saved in self.save(job, folder)]

    def save(self, job: Job | str, folder: ImageFolder, *, restore: bool = True) -> list[SavedImage]:
        """Saves a job's images into an album that is open for many jobs."""
        whole = self._with_outputs(job)
        made_at: datetime = whole.completed_at or whole.created_at
        return [
            folder.save(output, made_at, lambda output=output: self.content(output), restore=restore)  # type: ignore[misc]
            for output in whole.outputs
        ]

    def models(self) -> ModelList:
        """The catalogue, the farm's default first, and who serves what."""
        return self._transport.read(ModelList, "GET", "/v1/models")

    def presets(self) -> PresetList:
        """Presets that a request may name."""
        return self._transport.read(PresetList, "GET", "/v1/presets")

    def workers(self) -> WorkerList:
        """Every worker that the farm remembers, live or not."""
        return self._transport.read(WorkerList, "GET", "/v1/workers")

    def queue(self) -> Queue:
        """What waits and runs."""
        return self._transport.read(Queue, "GET", "/v1/queue")

    def ready(self) -> Readiness:
        """Whether jobs are accepted and rendered; Unavailable when they are not accepted."""
        return self._transport.read(Readiness, "GET", "/readyz")

    def answers(self) -> bool:
        """Whether a farm answers at this address now; something else that does counts for none."""
        try:
            self._transport.read(Health, "GET", "/healthz")
        except FarmError:
            return False
        return True

    def close(self) -> None:
        """Ends the connections; whatever waits in another thread gives up."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _with_outputs(self, job: Job | str) -> Job:
        """The job as given if it has ended, else as it is now."""
        return job if isinstance(job, Job) and job.status is JobStatus.SUCCEEDED else self.get(job)


def _path(job: Job | str) -> str:
    return f"{SUBMIT_PATH}/{quote(job if isinstance(job, str) else job.id, safe='')}"
