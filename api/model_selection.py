"""Choose the model of a job; refuse a model that no worker will render."""

from __future__ import annotations

import time

from api.overview import RESTART_SECONDS, Overview
from core.catalogue import Catalogue, CatalogueModel, resolve_auto
from core.errors import Conflict
from core.settings import Settings
from db.tables import Worker


class ModelSelector:
    """Decides which model a request gets, and whether its jobs are accepted."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue

    def choose(self, name: str | None, overview: Overview) -> CatalogueModel:
        """Return the model of a request; raise InvalidInput when it is unknown, Conflict `model_not_served` when refused."""
        model = self._catalogue.get(name) if name else self.default(overview)
        if (reason := self.refusal(model, overview)) is not None:
            raise Conflict(reason, code="model_not_served")
        return model

    def default(self, overview: Overview) -> CatalogueModel:
        """Return the model for requests that name none: the configured one, else a served one, real models first."""
        if self._settings.model != "auto":
            return self._catalogue.get(self._settings.model)
        served = [self._model_of(worker) for worker in overview.live or sorted(overview.workers, key=_seen, reverse=True)]
        candidates = [model for model in served if model is not None]
        real = [model for model in candidates if not model.built_locally]
        return (real or candidates or [resolve_auto(self._settings).model])[0]

    def refusal(self, model: CatalogueModel, overview: Overview) -> str | None:
        """Return why jobs for this model are refused and what to do; None when they are accepted."""
        if overview.serving(model.id) or self._may_come_back(model, overview):
            return None
        served = sorted({worker.model for worker in overview.live})
        now = f"Served now: {', '.join(served)}." if served else "No worker is up."
        why = "".join(
            f" Worker {worker.name} failed: {worker.message or 'it reported no reason'}."
            for worker in overview.workers
            if worker.model == model.id and worker.state == "failed"
        )
        return f"No worker can render {model.id}.{why} {now} Start one with `imagefarm worker --model {model.id}`."

    def _may_come_back(self, model: CatalogueModel, overview: Overview) -> bool:
        """Return whether a worker of the model may be restarting, so that a restart refuses no jobs."""
        if self._settings.model != "auto" and self._catalogue.get(self._settings.model).id == model.id:
            return True
        known = [worker for worker in overview.workers if worker.model == model.id and worker.state != "failed"]
        if any(_seen(worker) > time.time() - RESTART_SECONDS for worker in known):
            return True
        return not overview.live and (bool(known) or resolve_auto(self._settings).model.id == model.id)

    def _model_of(self, worker: Worker) -> CatalogueModel | None:
        return next((model for model in self._catalogue if model.id == worker.model), None)


def _seen(worker: Worker) -> float:
    return worker.seen_at
