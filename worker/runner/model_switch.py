"""Load the model that the queues ask for: watch them, let running jobs end, and change the engine's model."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.catalogue import CatalogueModel, ModelPaths, locate
from core.errors import RenderError, Unavailable
from db import worker_models
from db.worker_models import LIVE_SECONDS, Holder
from worker.engine.messages import EngineInfo, LoadFailed
from worker.engine.spec import spec_from_settings
from worker.runner.attempts import ClaimGate
from worker.runner.context import WorkerContext
from worker.runner.model_choice import Candidate, Choice, choose
from worker.runner.served_models import ASSUMED_SECONDS, ServedModels, assumed_seconds

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
"""Seconds between two looks at the queues of models that are not loaded; a few index look-ups."""
LOSSES_PER_LOAD = 2
"""Engines that may end during a load of one model before it is set aside."""


@dataclass
class _Target:
    """The model that is being loaded, or was last."""

    model: str
    started_at: float
    losses: int = 0


class ModelSwitch:
    """Owns which model is loaded. A worker with one model only handles requests to load and unload it.

    `models`: those of the catalogue; an upscaling worker has none, reports none, and always serves core.queue.UPSCALE.
    `on_change` is called when the gate opens or closes; `can_switch`: false while the worker is paused or stopping.
    """

    def __init__(
        self,
        context: WorkerContext,
        models: tuple[CatalogueModel, ...],
        gate: ClaimGate,
        on_change: Callable[[], object],
        can_switch: Callable[[], bool],
    ) -> None:
        self._context = context
        self._database = context.database
        self._engine = context.engine
        self._rows = {model.id: model for model in models}
        self._gate = gate
        self._on_change = on_change
        self._can_switch = can_switch
        assumed = {model.id: assumed_seconds(model.weights.resident_gigabytes) for model in models}
        self._served = ServedModels(assumed or {context.model: ASSUMED_SECONDS})
        self._loaded: str | None = None
        self._loaded_at = float("-inf")
        self._was_ready = False
        self._is_draining = False
        self._target = _Target(context.model, time.monotonic())
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="model-switch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return after the last report."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3)

    @property
    def summary(self) -> str:
        """Say which models are served, and where their weights are, in one line."""
        states = {model: report.state for model, report in self._served.reports().items()}
        return ", ".join(f"{model} ({state.replace('_', ' ')})" for model, state in states.items())

    def on_loading(self) -> str:
        """Record that the engine is loading, and return the model."""
        self._gate.close()
        self._served.note_loading(self._target.model)
        self._wake.set()
        return self._target.model

    def on_ready(self, info: EngineInfo) -> None:
        """Record that a model is loaded, and open the gate for its jobs."""
        seconds = time.monotonic() - self._target.started_at
        self._target = _Target(info.model, time.monotonic())
        self._served.note_loaded(info.model, seconds, info.in_host_memory)
        # The first model was loaded for no job: it needs not stay.
        self._loaded, self._loaded_at = info.model, time.monotonic() if self._was_ready else float("-inf")
        self._was_ready = True
        if not self._is_draining:
            self._gate.open(info.model)
        self._wake.set()

    def on_load_failed(self, event: LoadFailed) -> bool:
        """Set the model aside and load another one; return false where there is none and the engine itself must retry."""
        return self._set_aside(f"It could not be loaded ({event.code}): {event.message}")

    def on_engine_lost(self, reason: str) -> None:
        """Count losses during a load; the engine's client starts a new process for the same model."""
        if self._loaded is None:
            self._target.losses += 1
            self._served.note_unloaded()
            if self._target.losses >= LOSSES_PER_LOAD:
                self._set_aside(f"Its engine ended while it was being loaded: {reason}.")
            return
        self._loaded = None
        self._gate.close()
        self._target = _Target(self._target.model, time.monotonic())
        self._served.note_unloaded()

    def on_unloaded(self) -> None:
        """Record that nothing is loaded."""
        self._loaded = None
        self._served.note_unloaded()
        self._wake.set()

    def _set_aside(self, reason: str) -> bool:
        failed = self._target.model
        logger.error("%s: %s", failed, reason)
        self._loaded = None
        self._served.set_aside(failed, reason)
        self._wake.set()
        other = next((model for model in self._served.names if model != failed and self._served.is_available(model)), None)
        if other is None or self._stopping:
            return False
        logger.info("loading %s instead", other)
        self._engine_loads(other)
        return True

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._pause)
            self._wake.clear()
            try:
                self._check()
            except Unavailable as error:
                logger.debug("could not read the queues of other models: %s", error.message)
            except Exception:
                logger.exception("could not choose a model; the next check tries again")

    @property
    def _pause(self) -> float:
        """A worker with one model that is loaded has nothing to decide."""
        is_settled = len(self._served.names) == 1 and self._loaded is not None
        return max(self._context.settings.heartbeat_seconds, CHECK_SECONDS) if is_settled else CHECK_SECONDS

    def _check(self) -> None:
        self._report()
        state = self._engine.state
        if self._stopping or not self._can_switch() or state not in ("ready", "failed", "unloaded"):
            return
        if state == "ready" and self._loaded is None:
            return  # `on_ready` is on its way: without it, the model that was just loaded would be loaded again.
        requests = worker_models.requests_to(self._database, self._context.identity.name)
        for model, request in requests.items():
            if model in self._rows and request == "unload":
                self._unload(model)
                return
        wanted = {model for model, request in requests.items() if request == "load" and model in self._rows}
        for model in wanted:
            self._served.retry(model)
        if self._loaded in wanted:
            self._clear(str(self._loaded), "load")
        if len(self._served.names) == 1 and self._loaded is not None:
            return
        if (choice := self._choose(wanted)) is not None:
            self._switch(choice)

    def _choose(self, wanted: set[str]) -> Choice | None:
        name, models = self._context.identity.name, self._served.names
        waiting = worker_models.waiting_for(self._database, name, models, self._context.sizes.of)
        if not wanted and not (waiting.keys() - {self._loaded}):
            return self._any_model() if self._engine.state == "failed" else None
        others = worker_models.held_by_others(self._database, name, models, LIVE_SECONDS / 2)
        candidates = []
        for model in models:
            queue, holders = waiting.get(model), [each for each in others if each.model == model]
            candidates.append(
                Candidate(
                    model,
                    self._served.load_seconds(model),
                    waiting=queue.jobs if queue else 0,
                    oldest_seconds=queue.oldest_seconds if queue else 0.0,
                    idle_elsewhere=sum(each.is_idle for each in holders),
                    warm_elsewhere=sum(each.state == "loaded" for each in holders),
                    available=self._served.is_available(model),
                    requested=model in wanted,
                )
            )
        loaded_for = time.monotonic() - self._loaded_at
        return choose(candidates, self._loaded, loaded_for, self._context.settings.swap_after_seconds)

    def _any_model(self) -> Choice | None:
        """Return the first model that may be tried, after loads that failed."""
        first = next((model for model in self._served.names if self._served.is_available(model)), None)
        return None if first is None else Choice(first, "no other model could be loaded")

    def _switch(self, choice: Choice) -> None:
        model = choice.model
        if (problem := self._problem(model)) is not None:
            logger.error("%s cannot be loaded: %s", model, problem)
            self._served.set_aside(model, problem)
            self._clear(model, "load")
            self._report()
            return
        if not self._announce(model, choice):
            return
        logger.info("loading %s in place of %s: %s", model, self._loaded or "none", choice.reason)
        if self._drain_engine():
            self._engine_loads(model)
            self._clear(model, "load")
        else:
            self._reopen()

    def _announce(self, model: str, choice: Choice) -> bool:
        """Tell the other workers; return false where one of them announced the same first and takes the jobs."""
        self._served.note_loading(model)
        self._report()
        if not choice.for_jobs:
            return True
        name = self._context.identity.name
        jobs = worker_models.waiting_for(self._database, name, [model], self._context.sizes.of).get(model)
        rivals = worker_models.held_by_others(self._database, name, [model], LIVE_SECONDS / 2)
        own = next(each for each in worker_models.models_by_worker(self._database)[name] if each.model == model)
        earlier = [each for each in rivals if _comes_first(each, own.state_at, name)]
        if jobs is None or (jobs.jobs <= len(earlier) and jobs.oldest_seconds < self._context.settings.swap_after_seconds):
            self._served.note_not_loading()
            self._report()
            return False
        return True

    def _drain_engine(self) -> bool:
        """Let no further job in and wait until those inside have ended; return false where the worker stops meanwhile."""
        self._is_draining = True
        self._gate.close()
        self._on_change()
        while not self._gate.wait_empty(CHECK_SECONDS) or self._engine.state in ("starting", "loading"):
            if self._stopping or not self._can_switch():
                return False
            self._wake.wait(CHECK_SECONDS / 10)
        return not self._stopping

    def _reopen(self) -> None:
        """Go on with the loaded model after a switch that was called off."""
        self._served.note_not_loading()
        self._is_draining = False
        if self._engine.state == "ready" and self._engine.info is not None:
            self._gate.open(self._engine.info.model)
        self._on_change()

    def _engine_loads(self, model: str) -> None:
        self._target = _Target(model, time.monotonic())
        if self._loaded is not None:
            self._served.note_left(self._loaded)
        self._loaded, self._is_draining = None, False
        self._gate.close()
        self._served.note_loading(model)
        self._context.state.change("loading", f"{model}: starting", model=model)
        self._engine.switch(spec_from_settings(self._context.settings, model))
        self._on_change()

    def _unload(self, model: str) -> None:
        if model == self._loaded:
            logger.info("unloading %s: an administrator asked for it", model)
            if not self._drain_engine():
                self._reopen()
                return
            self._is_draining = False
            self._engine.unload()
        else:
            self._engine.release(model)
            self._served.note_released(model)
        self._clear(model, "unload")
        self._report()

    def _problem(self, model: str) -> str | None:
        """Return why the model cannot be loaded, as far as its files show without an engine; None where it can."""
        row = self._rows.get(model)
        if row is None or row.built_locally or self._context.settings.renderer == "synthetic":
            return None
        try:
            locate(row, ModelPaths.of(self._context.settings))
        except RenderError as error:
            return error.message
        return None

    def _clear(self, model: str, request: worker_models.Request) -> None:
        worker_models.clear_request(self._database, self._context.identity.name, model, request)

    def _report(self) -> None:
        for model in self._served.names:
            self._served.is_available(model)  # One whose pause is over is offered to users again.
        if self._rows and (changes := self._served.changes()):
            identity = self._context.identity
            worker_models.report_models(self._database, identity.name, identity.incarnation, changes)
            self._served.note_reported(changes)


def _comes_first(rival: Holder, announced_at: float, name: str) -> bool:
    return rival.state == "loaded" or (rival.since, rival.worker) < (announced_at, name)
