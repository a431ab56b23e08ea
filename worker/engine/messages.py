"""Frames between worker and engine: a JSON header, then the payload bytes where the message has some. Never pickle."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from pydantic import TypeAdapter

from core.render import RenderRequest
from worker.engine import events
from worker.engine.spec import EngineSpec


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
class Beat:
    """The engine is alive: sent after each unit of work that nothing else reports, and on a CPU while it computes."""


Command = Load | Submit | Cancel | Stop
Message = Command | Beat | events.EngineEvent

_TYPES: tuple[type[Any], ...] = (
    Load,
    Submit,
    Cancel,
    Stop,
    Beat,
    events.Loading,
    events.Ready,
    events.LoadFailed,
    events.Started,
    events.Step,
    events.Preview,
    events.Rendered,
    events.Canceled,
    events.RequestFailed,
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
