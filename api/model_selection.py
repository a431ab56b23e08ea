"""Choose the model of a job; refuse a model that no worker will render."""

from __future__ import annotations

import time

from api.overview import RESTART_SECONDS, Overview
from core.catalogue import CatalogueModel, FarmCatalogue, ModelPaths, catalogue_of, is_present, resolve_auto
from core.catalogue.presence import problems_of
from core.errors import Conflict
from core.settings import Settings
from db.tables import Worker


class ModelSelector:
    """Decides which model a request gets, and whether its jobs are accepted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._configured = settings.model_names if settings.model != "auto" else ()
        self._latest: tuple[Overview, FarmCatalogue] | None = None
        self._chosen: dict[str | None, CatalogueModel] = {}
        """What was chosen by the latest overview and catalogue, which last for many requests."""

    @property
    def _catalogue(self) -> FarmCatalogue:
        return catalogue_of(self._settings)

    def choose(self, name: str | None, overview: Overview) -> CatalogueModel:
        """Return the model of a request; raise InvalidInput when it is unknown, Conflict `model_not_served` when refused."""
        catalogue = self._catalogue
        if self._latest is None or self._latest[0] is not overview or self._latest[1] is not catalogue:
            self._latest, self._chosen = (overview, catalogue), {}
        if (found := self._chosen.get(name)) is None:
            found = self._chosen[name] = self._choose(name, overview)
        return found

    def _choose(self, name: str | None, overview: Overview) -> CatalogueModel:
        model = self._catalogue.get(name) if name else self.default(overview)
        if (reason := self.refusal(model, overview)) is not None:
            raise Conflict(reason, code="model_not_served")
        return model

    def default(self, overview: Overview) -> CatalogueModel:
        """Return the model for requests that name none: the configured one, else a served one, real models first."""
        if self._configured:
            return self._catalogue.get(self._configured[0])
        served = [
            self._model_of(overview.listed(worker)[0])
            for worker in overview.live or sorted(overview.workers, key=_seen, reverse=True)
        ]
        candidates = [model for model in served if model is not None]
        real = [model for model in candidates if not model.built_locally]
        return (real or candidates or [resolve_auto(self._settings).model])[0]

    def refusal(self, model: CatalogueModel, overview: Overview) -> str | None:
        """Return why jobs for this model are refused and what to do; None when they are accepted."""
        if overview.serving(model.id) or self._may_come_back(model, overview):
            return None
        served = sorted(
            {each for worker in overview.live for each in overview.listed(worker) if overview.serves(worker, each)}
        )
        now = f"Served now: {', '.join(served)}." if served else "No worker is up."
        why = "".join(_why_not(worker, model.id, overview) for worker in overview.workers)
        return f"No worker can render {model.id}.{why} {now} {self._what_to_do(model)}"

    def _what_to_do(self, model: CatalogueModel) -> str:
        """Return the command that serves the model; before it the one that gets its weights, where they are not here."""
        start = f"Start one with `imagefarm worker --model {model.id}`."
        if model.folder is not None or model.files:
            missing = [str(path) for path in (model.folder, *model.files.values()) if path is not None and not path.exists()]
            if not missing:
                return start
            gone = f"{missing[0]} is not on this machine: put it back, or add the model again with `imagefarm models add`."
            return f"{gone} {start}"
        model_paths = ModelPaths.of(self._settings)
        if is_present(model, model_paths):
            return start
        if problems := problems_of(model, model_paths):
            return f"Its weights cannot be loaded: {'; '.join(problems)} {start}"
        return (
            f"Its weights are not on this machine: run `imagefarm models pull {model.id}`, or `imagefarm models add FILE` "
            f"for a file of yours. {start}"
        )

    def _may_come_back(self, model: CatalogueModel, overview: Overview) -> bool:
        """Return whether a worker of the model may be restarting, so that a restart refuses no jobs."""
        if self._is_configured(model) and not _is_unavailable(model.id, overview):
            return True
        known = [worker for worker in overview.workers if _may_serve(worker, model.id, overview)]
        if any(_seen(worker) > time.time() - RESTART_SECONDS for worker in known):
            return True
        return not overview.live and (bool(known) or resolve_auto(self._settings).model.id == model.id)

    def _is_configured(self, model: CatalogueModel) -> bool:
        return any(self._catalogue.get(name).id == model.id for name in self._configured)

    def _model_of(self, model_id: str) -> CatalogueModel | None:
        return next((model for model in self._catalogue if model.id == model_id), None)


def _seen(worker: Worker) -> float:
    return worker.seen_at


def _why_not(worker: Worker, model: str, overview: Overview) -> str:
    """Return a sentence, after a space, on why this worker does not render one of its models; empty for other workers."""
    if worker.model == model and worker.state == "failed":
        return f" Worker {worker.name} failed: {worker.message or 'it reported no reason'}."
    row = overview.row(worker, model) if worker in overview.live else None
    return f" Worker {worker.name}: {row.message}" if row is not None and row.state == "unavailable" and row.message else ""


def _is_unavailable(model: str, overview: Overview) -> bool:
    """Return whether a live worker could not load the model, and no other one serves it."""
    rows = [overview.row(worker, model) for worker in overview.live]
    return any(row is not None and row.state == "unavailable" for row in rows) and not overview.serving(model)


def _may_serve(worker: Worker, model: str, overview: Overview) -> bool:
    if model not in overview.listed(worker) or worker.state == "failed":
        return False
    return overview.model_state(worker, model) != "unavailable"
