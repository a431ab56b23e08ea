"""Define the messages between worker and engine, and frame them: JSON header, then payload. Never pickle."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from pydantic import TypeAdapter

from core.render import RenderRecord, RenderRequest, RenderTimings
from worker.engine.spec import EngineSpec


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


@dataclass(frozen=True)
class Load:
    """First message to a new engine."""

    spec: EngineSpec


@dataclass(frozen=True)
class Submit:
    """`init_image`: an encoded picture (PNG, JPEG or WebP) for image-to-image, else empty."""

    request: RenderRequest
    init_image: bytes = b""


@dataclass(frozen=True)
class Cancel:
    """Take the request out at the next step."""

    request_id: str


@dataclass(frozen=True)
class Stop:
    """Finish what is in flight, take nothing new, exit."""


@dataclass(frozen=True)
class Heartbeat:
    """The engine is alive: sent after each unit of work that nothing else reports, and on a CPU while it computes."""


Command = Load | Submit | Cancel | Stop
Message = Command | Heartbeat | EngineEvent

_TYPES: tuple[type[Any], ...] = (
    Load,
    Submit,
    Cancel,
    Stop,
    Heartbeat,
    Loading,
    Ready,
    LoadFailed,
    Started,
    Step,
    Preview,
    Rendered,
    Canceled,
    RequestFailed,
)
_ADAPTERS: dict[str, TypeAdapter[Any]] = {cls.__name__: TypeAdapter(cls) for cls in _TYPES}
_PAYLOADS = {"Submit": "init_image", "Preview": "image", "Rendered": "pixels"}
"""Message -> its field that travels as a frame of its own."""


class Channel:
    """One end of the pipe. Any thread may send; one thread receives."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    @classmethod
    def over(cls, end: socket.socket) -> Channel:
        """Takes the socket over; closing the channel closes it."""
        return cls(Connection(end.detach()))

    def send(self, message: Message) -> None:
        """Raises OSError when the other side is gone."""
        name = type(message).__name__
        field = _PAYLOADS.get(name)
        body = _ADAPTERS[name].dump_python(message, mode="json", exclude={field} if field else None)
        header = json.dumps({"type": name, "body": body}).encode()
        with self._sending:
            self._connection.send_bytes(header)
            if field:
                self._connection.send_bytes(getattr(message, field))

    def receive(self) -> Message:
        """Blocks for the next message; raises EOFError or OSError when the other side is gone."""
        header = json.loads(self._connection.recv_bytes())
        name, body = header["type"], header["body"]
        if field := _PAYLOADS.get(name):
            body[field] = self._connection.recv_bytes()
        message: Message = _ADAPTERS[name].validate_python(body)
        return message

    def close(self) -> None:
        self._connection.close()
