"""Submit jobs that enlarge images; list the upscalers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.parameters import InvalidParameters
from core.schemas.batches import Batch
from core.schemas.images import Image, Upload
from core.schemas.jobs import Job, Output
from core.schemas.upscales import UpscaleRequest, UpscalerList
from imagefarm.job_requests import idempotency_headers, problems_of
from imagefarm.transport import Transport

PATH = "/v1/upscales"


class Upscales:
    """The calls about upscaling, as `ImageFarm.upscales`; `upload` sends a file."""

    def __init__(self, transport: Transport, upload: Callable[[Path | bytes], Upload]) -> None:
        self._transport = transport
        self._upload = upload

    def submit(
        self,
        image: Output | Image | Path | bytes | str,
        *,
        idempotency_key: str | None = None,
        **fields: Any,  # noqa: ANN401 -- of UpscaleRequest
    ) -> Job:
        """Enlarge one image: `fields` are those of UpscaleRequest, such as `scale=2`. See `ImageFarm.upscale`."""
        source = {"upload": self._upload(image).id} if isinstance(image, Path | bytes) else {"image": _id_of(image)}
        return self._transport.read(
            Job, "POST", PATH, json=_body(fields | source), headers=idempotency_headers(idempotency_key)
        )

    def batch(
        self,
        images: Sequence[Output | Image | Path | bytes | str],
        *,
        idempotency_key: str | None = None,
        **fields: Any,  # noqa: ANN401 -- of UpscaleRequest
    ) -> Batch:
        """Enlarge many images, all or none, under the id of one batch; those of the farm come before files."""
        sources = {
            "images": [_id_of(image) for image in images if not isinstance(image, Path | bytes)],
            "uploads": [self._upload(image).id for image in images if isinstance(image, Path | bytes)],
        }
        body = _body(fields | sources)
        return self._transport.read(Batch, "POST", PATH, json=body, headers=idempotency_headers(idempotency_key))

    def upscalers(self) -> UpscalerList:
        """Return the upscalers, the default first, with the workers that have their weights."""
        return self._transport.read(UpscalerList, "GET", "/v1/upscalers")


def _id_of(image: Output | Image | str) -> str:
    return image if isinstance(image, str) else image.id


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the body without empty fields. Raises InvalidParameters naming every wrong field."""
    given = {name: value for name, value in fields.items() if value not in (None, [])}
    try:
        return UpscaleRequest.model_validate(given).as_sent()
    except ValidationError as error:
        raise InvalidParameters(problems_of(error, UpscaleRequest)) from error
