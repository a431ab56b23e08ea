"""Render images with `get_generator().generate(...)`: on a running farm, else in an engine process started here."""

from __future__ import annotations

import atexit
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import FarmError, RenderError
from core.extras import require_extras
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
    """PNG files and the rendering time in seconds."""

    files: tuple[bytes, ...]
    seconds: float


class Renderer(Protocol):
    """Renders requests, on a farm or locally."""

    def render(self, request: JobRequest) -> RenderedImages:
        """Render all images of the request."""


class Generator:
    """Renders and saves images; create it with `get_generator`."""

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
        """Render images; return (paths, seconds, metadata). Image i has paths[i], metadata[i] and the seed `seed` + i.

        None means the model's default; `seed` -1 draws a random one. Files are `outputs/outputs_YYYYMMDDHHMMSS.png` in
        the working directory, with `_01`, `_02` ... when that name exists. `seconds` is the rendering time without
        waiting for a worker and without loading the model. Raises the errors of `core.errors`.
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
    """Return the generator of this process; print on standard error where it renders.

    If IMAGEFARM_URL is set, only that farm is used. Otherwise a farm on this machine is used if one answers, and this
    process loads the model if none does; that needs the extra `worker`.
    """
    settings = Settings()
    farm = ImageFarm()
    if settings.url or farm.answers():
        _print_note(f"rendering on the farm at {farm.url}")
        return Generator(_FarmRenderer(farm))
    farm.close()
    _print_note(f"no farm answers at {farm.url}: rendering in this process, which loads the model first")
    require_extras("worker", purpose="Rendering without a farm")
    local = _LocalRenderer(settings)
    atexit.register(local.close)
    return Generator(local)


class _FarmRenderer:
    """Renders on a farm."""

    def __init__(self, farm: ImageFarm) -> None:
        self._farm = farm

    def render(self, request: JobRequest) -> RenderedImages:
        job = self._farm.submit(request)
        for note in (job.notice, *job.warnings):
            _print_note(note)
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
    """Renders in an engine process, as a worker does."""

    def __init__(self, settings: Settings) -> None:
        from worker.local_renderer import LocalRenderer

        self._bar = StepBar()
        self._renderer = LocalRenderer(settings, self._show)
        _print_note(self._renderer.notice)

    def render(self, request: JobRequest) -> RenderedImages:
        self._bar = StepBar()
        with self._bar:
            done = self._renderer.render(request)
        for warning in done.warnings:
            _print_note(warning)
        return RenderedImages(done.files, done.seconds)

    def close(self) -> None:
        """Stop the engine."""
        self._renderer.close()

    def _show(self, progress: LocalProgress) -> None:
        eta = progress.eta_seconds
        note = f"{seconds(eta)} left" if eta is not None else ""
        self._bar.update(progress.stage, progress.fraction, note, progress.stage if eta is None else "")


def _metadata(data: bytes) -> dict[str, Any]:
    """Return the metadata in the file: prompt, seed, model, device and more."""
    written = read_metadata(data).imagefarm
    if written is None:
        raise FarmError("The image has no imagefarm metadata: the farm is of another version.", code="not_a_farm")
    return written.model_dump(mode="json", exclude_none=True)


def _print_note(text: str | None) -> None:
    if text:
        sys.stderr.write(f"imagefarm: {text}\n")
