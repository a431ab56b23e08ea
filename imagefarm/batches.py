"""Submit, follow and cancel batches: many jobs under one id."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import quote

from pydantic import ValidationError

from core.parameters import InvalidParameters
from core.schemas.batches import Batch, BatchRequest
from imagefarm.errors import WaitTimeout
from imagefarm.job_requests import idempotency_headers, problems_of
from imagefarm.transport import Transport

PATH = "/v1/batches"
QUIET_WAIT_SECONDS, PROGRESS_WAIT_SECONDS = 20.0, 1.0


class Batches:
    """The calls about batches, as `ImageFarm.batches`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(self, request: BatchRequest | list[str], *, idempotency_key: str | None = None, **fields: Any) -> Batch:  # noqa: ANN401
        """Submit prompts with `fields` of BatchRequest such as `seeds=[1, 2]`, or a BatchRequest: all jobs or none."""
        body = _request_of(request, fields).model_dump(mode="json", exclude_unset=True)
        return self._transport.read(Batch, "POST", PATH, json=body, headers=idempotency_headers(idempotency_key))

    def get(self, batch: Batch | str) -> Batch:
        """Return the current state of the batch and its jobs."""
        return self._transport.read(Batch, "GET", _path(batch))

    def wait(
        self,
        batch: Batch | str,
        *,
        timeout_seconds: float | None = None,
        on_progress: Callable[[Batch], None] | None = None,
    ) -> Batch:
        """Return the batch once all its jobs have ended. Calls `on_progress` about once a second. Raises WaitTimeout."""
        end = float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
        latest = self.get(batch)
        pause = QUIET_WAIT_SECONDS if on_progress is None else PROGRESS_WAIT_SECONDS
        while True:
            if on_progress is not None:
                on_progress(latest)
            if latest.status == "finished":
                return latest
            remaining = end - time.monotonic()
            if remaining <= 0:
                raise WaitTimeout(
                    f"Batch {latest.id} was not finished after {timeout_seconds:g} s; it continues on the farm."
                )
            wait = round(min(pause, remaining), 3)
            latest = self._transport.read(Batch, "GET", _path(batch), params={"wait": wait}, wait_seconds=wait)

    def cancel(self, batch: Batch | str) -> Batch:
        """Cancel all jobs of the batch that have not ended."""
        return self._transport.read(Batch, "POST", f"{_path(batch)}/cancel")

    def contact_sheet(self, batch: Batch | str, *, side: int = 256, format: Literal["png", "webp"] = "png") -> bytes:
        """Return all images of the batch on one sheet, labelled with its axes; unfinished images are grey."""
        params = {"side": side, "format": format}
        headers = {"Accept": f"image/{format}"}
        return self._transport.send("GET", f"{_path(batch)}/contact-sheet", params=params, headers=headers).content

    def ratings(self, batch: Batch | str) -> str:
        """Return the mean ratings by axis value as CSV; `get` has them as `ratings`."""
        return self._transport.send("GET", f"{_path(batch)}/ratings.csv", headers={"Accept": "text/csv"}).text


def _path(batch: Batch | str) -> str:
    return f"{PATH}/{quote(batch if isinstance(batch, str) else batch.id, safe='')}"


def _request_of(request: BatchRequest | list[str], fields: dict[str, Any]) -> BatchRequest:
    if isinstance(request, BatchRequest):
        return request
    try:
        return BatchRequest.model_validate({"prompts": request, **fields})
    except ValidationError as error:
        raise InvalidParameters(problems_of(error, BatchRequest)) from error
