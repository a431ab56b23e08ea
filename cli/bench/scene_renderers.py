"""Render the scenes on a farm, or without one in an engine process of this command."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from cli.jobs.output import note
from core.catalogue import CatalogueModel, catalogue_of
from core.errors import NotFound, RenderError
from core.lifecycle import JobStatus
from core.scenes import ModelFacts
from core.schemas.jobs import JobRequest
from core.settings import Settings
from imagefarm.formatting import seconds
from imagefarm.progress import JobBar, StepBar

if TYPE_CHECKING:
    from imagefarm import ImageFarm
    from worker.local_renderer import LocalProgress


@dataclass(frozen=True)
class RenderedScene:
    """A PNG file with its metadata. `load_seconds`: of the model in the engine that rendered it; None if unknown."""

    image: bytes
    seconds: float
    load_seconds: float | None
    warnings: tuple[str, ...]


class SceneRenderer(Protocol):
    """Renders requests of one model. `farm`: the farm's URL; None without one."""

    farm: str | None
    model: ModelFacts

    def render(self, request: JobRequest) -> RenderedScene:
        """Render one image. Raises the errors of `core.errors`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FarmScenes:
    """Renders on a farm, one job for each image."""

    def __init__(self, farm: ImageFarm, model: str | None) -> None:
        self._farm = farm
        self.farm: str | None = farm.url
        self.model = _model_of_farm(farm, model)

    def render(self, request: JobRequest) -> RenderedScene:
        job = self._farm.submit(request)
        try:
            with JobBar() as bar:
                job = self._farm.wait(job, on_progress=bar.show)
        except KeyboardInterrupt:
            self._farm.cancel(job)
            raise
        if job.status is not JobStatus.SUCCEEDED:
            code, message = (job.error.code, job.error.message) if job.error else (f"job_{job.status}", "")
            raise RenderError(f"Job {job.id} is {job.status}: {message}".rstrip(": "), code=code)
        loads = {
            worker.name: worker.info.get("load_seconds")
            for worker in self._farm.workers().items
            if worker.info.get("model") == job.model
        }
        return RenderedScene(
            self._farm.content(job.outputs[0]),
            job.timings.rendering_seconds or 0.0,
            loads.get(job.worker or ""),
            tuple(job.warnings),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._farm.close()


class LocalScenes:
    """Renders in an engine process, as a worker does, without queue and database."""

    farm: str | None = None

    def __init__(self, settings: Settings) -> None:
        from worker.local_renderer import LocalRenderer

        self._bar = StepBar()
        self._renderer = LocalRenderer(settings, self._show)
        self.model = facts_of_row(catalogue_of(settings).get(self._renderer.model.id))

    def render(self, request: JobRequest) -> RenderedScene:
        self._bar = StepBar()
        with self._bar:
            done = self._renderer.render(request)
        info = self._renderer.info
        return RenderedScene(done.files[0], done.seconds, info.load_seconds if info else None, done.warnings)

    def _show(self, progress: LocalProgress) -> None:
        eta = progress.eta_seconds
        left = f"{seconds(eta)} left" if eta is not None else ""
        self._bar.update(progress.stage, progress.fraction, left, progress.stage if eta is None else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._renderer.close()


def facts_of_row(row: CatalogueModel) -> ModelFacts:
    """Return the facts of a catalogue row."""
    defaults, limits = row.defaults, row.limits
    return ModelFacts(
        row.id,
        defaults.num_inference_steps,
        defaults.guidance_scale,
        limits.max_steps,
        limits.max_guidance_scale,
        guidance=row.cfg != "none",
    )


def _model_of_farm(farm: ImageFarm, name: str | None) -> ModelFacts:
    """Return the facts of a model by id or alias, of the farm's default model for None. Raises NotFound."""
    models = farm.models().data
    for each in models:
        if each.default if name is None else name in (each.id, *each.aliases):
            return ModelFacts(
                each.id,
                int(each.defaults["num_inference_steps"]),
                float(each.defaults["guidance_scale"]),
                int(each.limits["max_steps"]),
                float(each.limits["max_guidance_scale"]),
                guidance=each.guidance,
            )
    known = ", ".join(each.id for each in models if each.served)
    raise NotFound(f"The farm at {farm.url} has no model '{name}'. It serves {known or 'none'}.", code="unknown_model")


def open_renderer(url: str | None, model: str | None) -> SceneRenderer:
    """Return a renderer on the farm that `--url` or IMAGEFARM_URL names, else on this machine's, else on none."""
    from cli.options import load_settings, open_farm
    from core.extras import require_extras

    settings = load_settings(url=url)
    farm = open_farm(url)
    if settings.url or farm.answers():
        note(f"rendering on the farm at {farm.url}")
        return FarmScenes(farm, model)
    farm.close()
    note(f"no farm answers at {farm.url}: rendering in this process, which loads the model first")
    require_extras("worker", purpose="Rendering without a farm")
    return LocalScenes(load_settings(model=model))
