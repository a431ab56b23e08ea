"""What every attempt on this worker needs and no attempt changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.settings import Settings
from core.tracing import Tracing
from db.database import Database
from db.size_limits import SizeLimit
from worker.engine.client import EngineClient
from worker.engine.messages import EngineInfo
from worker.events import EventPublisher
from worker.runner.attempts import InFlightAttempts
from worker.runner.flower import FlowerEvents
from worker.runner.metrics import WorkerTotals
from worker.runner.worker_state import WorkerIdentity, WorkerState


class SizeLimits:
    """The largest image of each of this worker's models, as its engine reported it at the last load. Thread-safe.

    Nothing is known of a model before its first load.
    """

    def __init__(self) -> None:
        self._limits: dict[str, SizeLimit | None] = {}

    def note(self, info: EngineInfo) -> None:
        """Record what the engine reports of the model that it has loaded."""
        is_known = info.max_pixels > 0 and info.max_pixels_guided > 0
        self._limits[info.model] = SizeLimit(info.max_pixels, info.max_pixels_guided) if is_known else None

    def of(self, model: str) -> SizeLimit | None:
        """Return the limit of a model; None where it is not known."""
        return self._limits.get(model)


@dataclass(frozen=True)
class WorkerContext:
    """Built once by the worker process and shared by its threads; every member is thread-safe.

    `attempts`: those in flight. `events`, `flower`: where state changes and progress are published. `tracing`: where spans
    go, if they are recorded. `totals`: what heartbeats report about its work. `sizes`: the largest images that it holds.
    """

    settings: Settings
    database: Database
    identity: WorkerIdentity
    model: str
    state: WorkerState
    engine: EngineClient
    attempts: InFlightAttempts
    events: EventPublisher
    flower: FlowerEvents
    tracing: Tracing | None = None
    totals: WorkerTotals = field(default_factory=WorkerTotals)
    sizes: SizeLimits = field(default_factory=SizeLimits)
