"""`get_generator().generate(...)`: pictures from the running farm, else from an engine of this process' own."""

from __future__ import annotations

import atexit
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import FarmError, RenderError
from core.imagefile import read_metadata
from core.lifecycle import JobStatus
from core.schemas.jobs import JobRequest
from core.settings import Settings
from core.storage import export_file
from imagefarm import ImageFarm
from imagefarm.formatting import seconds
from imagefarm.job_requests import request_from
from imagefarm.progress import JobBar, StepBar

if TYPE_CHECKING:
    from worker.local_renderer import LocalProgress

OUTPUTS = Path("outputs")


@dataclass(frozen=True)
class RenderedImages:
    """Whole PNG files, and the seconds that rendering them took."""

    files: tuple[bytes, ...]
    seconds: float


class Renderer(Protocol):
    """One of the two ways to a picture."""

    def render(self, request: JobRequest) -> RenderedImages:
        """All images of the request."""


class Generator:
    """Renders and saves; made by `get_generator`."""

    def __init__(self, renderer: Renderer, outputs: Path = OUTPUTS) -> None:
        self._renderer = renderer
        self._outputs = outputs

    def generate(
        self,
        prompt: str,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        num_inference_steps: int | None = None,
        cfg_scale: float | None = None,
        num_images: int = 1,
        seed: int = -1,
    ) -> tuple[list[str], float, list[dict[str, Any]]]:
        """(paths, seconds, metadata): image i is at paths[i], made as metadata[i] says, with the seed `seed` + i.

        What is None is the model's default; `seed` -1 draws one. Files are `outputs/outputs_YYYYMMDDHHMMSS.png` in the
        working directory, `_01`, `_02` ... when that name is taken. `seconds` is the time of rendering, without waiting
        for a free worker or loading the model. Raises the errors of `core.errors`.
        """
        given = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "width": width,
            "height": height,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": cfg_scale,
            "num_images": num_images,
            "seed": seed,
        }
        rendered = self._renderer.render(request_from({name: value for name, value in given.items() if value is not None}))
        paths = [str(export_file(self._outputs, data, datetime.now(UTC))) for data in rendered.files]
        return paths, rendered.seconds, [_metadata(data) for data in rendered.files]


@cache
def get_generator() -> Generator:
    """The generator of this process. It says on standard error which of the two ways it renders.

    IMAGEFARM_URL names the farm to use, and then only that; without it, a farm on this machine is used if one answers.
    """
    settings = Settings()
    farm = ImageFarm()
    if settings.url or farm.answers():
        _say(f"rendering on the farm at {farm.url}")
        return Generator(_FarmRenderer(farm))
    farm.close()
    _say(f"no farm answers at {farm.url}: rendering in this process, which loads the model first")
    here = _LocalRenderer(settings)
    atexit.register(here.close)
    return Generator(here)


class _FarmRenderer:
    """As a client."""

    def __init__(self, farm: ImageFarm) -> None:
        self._farm = farm

    def render(self, request: JobRequest) -> RenderedImages:
        job = self._farm.submit(request)
        for remark in (job.notice, *job.warnings):
            _say(remark)
        try:
            with JobBar() as bar:
                job = self._farm.wait(job, on_progress=bar.show)
        except KeyboardInterrupt:
            self._farm.cancel(job)
            raise
        if job.status is not JobStatus.SUCCEEDED:
            code, message = (job.error.code, job.error.message) if job.error else (f"job_{job.status}", "")
            raise RenderError(f"Job {job.id} is {job.status}: {message}".rstrip(": "), code=code)
        files = tuple(self._farm.content(output) for output in job.outputs)
        return RenderedImages(files, job.timings.rendering_seconds or 0.0)


class _LocalRenderer:
    """With the engine that workers use."""

    def __init__(self, settings: Settings) -> None:
        from worker.local_renderer import LocalRenderer

        self._bar = StepBar()
        self._renderer = LocalRenderer(settings, self._show)
        _say(self._renderer.notice)

    def render(self, request: JobRequest) -> RenderedImages:
        self._bar = StepBar()
        with self._bar:
            done = self._renderer.render(request)
        for warning in done.warnings:
            _say(warning)
        return RenderedImages(done.files, done.seconds)

    def close(self) -> None:
        """Ends the engine."""
        self._renderer.close()

    def _show(self, told: LocalProgress) -> None:
        left = f"{seconds(told.eta_seconds)} left" if told.eta_seconds is not None else ""
        self._bar.move(told.stage, told.fraction, left, told.stage if told.eta_seconds is None else "")


def _metadata(data: bytes) -> dict[str, Any]:
    """What the file says about itself: prompt, seed, model, device and all."""
    written = read_metadata(data).imagefarm
    if written is None:
        raise FarmError("The picture carries no metadata of ours: the farm is of another version.", code="not_a_farm")
    return written.model_dump(mode="json", exclude_none=True)


def _say(text: str | None) -> None:
    if text:
        sys.stderr.write(f"imagefarm: {text}\n")
