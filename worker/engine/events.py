"""What an engine tells its worker."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.render import RenderRecord, RenderTimings


@dataclass(frozen=True)
class EngineInfo:
    """What is loaded. `memory` holds gigabytes (10^9 bytes) by name, such as `resident` or `device_total`."""

    model: str
    family: str
    device: str
    device_name: str
    dtype: str
    memory_policy: str
    capacity: int
    token_budget: int
    attention_backend: str
    load_seconds: float
    process_id: int
    memory: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loading:
    """The model is being brought up; `fraction` is 0..1 where it can be told."""

    stage: str
    fraction: float | None = None


@dataclass(frozen=True)
class Ready:
    """Requests are taken from now on."""

    info: EngineInfo


@dataclass(frozen=True)
class LoadFailed:
    """The model did not come up; the client tries again with growing pauses unless the spec itself is wrong."""

    code: str
    message: str


@dataclass(frozen=True)
class Started:
    """The request has joined the batch."""

    request_id: str


@dataclass(frozen=True)
class Step:
    """`step` of `steps` is done, and `part` (0..1) of the next, which is told where a step takes long.

    Seconds are wall time since its first step began, batch-mates included.
    """

    request_id: str
    step: int
    steps: int
    seconds_per_step: float
    eta_seconds: float
    part: float = 0.0


@dataclass(frozen=True)
class Preview:
    """A small JPEG of what the picture looks like so far."""

    request_id: str
    step: int
    image: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Rendered:
    """The finished image: `pixels` is RGB, 8 bits a channel, row by row, `width` * `height` * 3 bytes."""

    request_id: str
    width: int
    height: int
    pixels: bytes
    record: RenderRecord
    timings: RenderTimings


@dataclass(frozen=True)
class Canceled:
    """The request has left the batch and its memory is free."""

    request_id: str


@dataclass(frozen=True)
class RequestFailed:
    """This request is over; its batch-mates are not touched. `code` is one of `core.retries.RULES`."""

    request_id: str
    code: str
    message: str


@dataclass(frozen=True)
class EngineLost:
    """The process died, hung or was stopped; all of `request_ids` are gone. Unless stopped, a new one is on its way."""

    request_ids: tuple[str, ...]
    reason: str


EngineEvent = Loading | Ready | LoadFailed | Started | Step | Preview | Rendered | Canceled | RequestFailed | EngineLost
