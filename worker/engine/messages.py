"""Define the messages between worker and engine and their framing: name and JSON, then the payload. Never pickle."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from core.json_text import dump_json, parse_json
from core.render import RenderRecord, RenderRequest, RenderTimings
from worker.engine.spec import EngineSpec


@dataclass(frozen=True)
class EngineInfo:
    """Describe the loaded model. `memory`: gigabytes (10^9 bytes) by name, such as `weights_on_device`.

    `in_host_memory`: other models whose weights this process keeps, so that they load without a disk.
    `upscalers`: id -> title, about, licence, origin, scales of those whose weights it has, for jobs or start images.
    `max_pixels`, `max_pixels_guided`: the largest image that memory holds, without and with guidance; 0: not known.
    `expected`: on a CPU, estimated seconds and memory of an image of the model's defaults, until one was rendered.
    `device_uuid`: of a GPU, as NVIDIA's tools print it. `text_encoder_device`: where prompts are encoded.
    """

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
    in_host_memory: list[str] = field(default_factory=list)
    upscalers: dict[str, Any] = field(default_factory=dict)
    max_pixels: int = 0
    max_pixels_guided: int = 0
    expected: dict[str, float] = field(default_factory=dict)
    device_uuid: str = ""
    text_encoder_device: str = ""


@dataclass(frozen=True)
class Loading:
    """The model is being loaded; `fraction` is 0..1, None where it is unknown."""

    stage: str
    fraction: float | None = None


@dataclass(frozen=True)
class Ready:
    """The engine accepts requests from now on."""

    info: EngineInfo


@dataclass(frozen=True)
class LoadFailed:
    """The model could not be loaded; the client retries with backoff unless the spec itself is wrong.

    `process_ends`: false where the process waits for another model to load.
    """

    code: str
    message: str
    process_ends: bool = True


@dataclass(frozen=True)
class Started:
    """The request has joined the batch."""

    request_id: str


@dataclass(frozen=True)
class Step:
    """`step` of `steps` steps are done, and the fraction `part` (0..1) of the next one, reported where a step takes long.

    Seconds are wall time since its first step started, including the work of the other requests in its batch.
    """

    request_id: str
    step: int
    steps: int
    seconds_per_step: float
    eta_seconds: float
    part: float = 0.0


@dataclass(frozen=True)
class Preview:
    """A small JPEG of the unfinished image."""

    request_id: str
    step: int
    image: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Rendered:
    """The finished image: `pixels` is RGB, 8 bits a channel, row by row, `width` * `height` * 3 bytes.

    Empty for an enlarged image, which is in the file that its request names.
    """

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
    """The request has failed; others in its batch are not affected. `code` is one of `core.retries.RULES`."""

    request_id: str
    code: str
    message: str


@dataclass(frozen=True)
class EngineLost:
    """The process died, hung or was stopped, with all of `request_ids`. Unless stopped, the client starts a new one."""

    request_ids: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Unloaded:
    """The process was stopped on request and holds no memory; the client starts a new one for the next model."""


EngineEvent = (
    Loading | Ready | LoadFailed | Started | Step | Preview | Rendered | Canceled | RequestFailed | EngineLost | Unloaded
)


@dataclass(frozen=True)
class Load:
    """First message to a new engine; later: finish the requests in flight, then load this model in place of the other."""

    spec: EngineSpec


@dataclass(frozen=True)
class Submit:
    """Render one image. `init_image`: an encoded image (PNG, JPEG, WebP or PPM) for image-to-image, else empty.

    `mask`: an encoded image of any of these formats, whose white areas inpainting repaints, else empty.
    """

    request: RenderRequest
    init_image: bytes = b""
    mask: bytes = b""


@dataclass(frozen=True)
class Cancel:
    """Remove the request at the next step."""

    request_id: str


@dataclass(frozen=True)
class Release:
    """Free the host memory that is kept for this model, which is not the loaded one."""

    model: str


@dataclass(frozen=True)
class Stop:
    """Finish the requests in flight, refuse new ones, exit."""


@dataclass(frozen=True)
class Heartbeat:
    """The engine is alive: sent after work that no other message reports, and on a CPU while it computes."""


Command = Load | Submit | Cancel | Release | Stop
Message = Command | Heartbeat | EngineEvent

_TYPES: tuple[type[Any], ...] = (
    Load,
    Submit,
    Cancel,
    Release,
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
_PLAIN: dict[str, type[Any]] = {cls.__name__: cls for cls in (Cancel, Heartbeat, Started, Step, Canceled, RequestFailed)}
"""The frequent messages, of plain JSON values: built directly, since both ends are this program."""
_PAYLOADS = {"Submit": ("init_image", "mask"), "Preview": ("image",), "Rendered": ("pixels",)}
"""Message -> its bytes fields, each of which is sent as a frame of its own."""


_LENGTH = struct.Struct("!Q")
_BUFFER_BYTES = 1 << 16
"""Read at a time: the messages of a short request arrive together. Larger payloads are read into place."""


class Channel:
    """One end of the socket pair. Any thread may send; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._received = end.makefile("rb", _BUFFER_BYTES)
        self._sending = threading.Lock()

    @classmethod
    def over(cls, end: socket.socket) -> Channel:
        """Take ownership of the socket; closing the channel closes it."""
        return cls(end)

    def send(self, message: Message) -> None:
        """Send one message. Raises OSError when the other side is closed."""
        name = type(message).__name__
        payloads = _PAYLOADS.get(name, ())
        plain = name in _PLAIN
        body = vars(message) if plain else _ADAPTERS[name].dump_python(message, mode="json", exclude=set(payloads))
        frames = [b"%b %b" % (name.encode(), dump_json(body)), *(getattr(message, payload) for payload in payloads)]
        parts = [part for frame in frames for part in (_LENGTH.pack(len(frame)), frame)]
        with self._sending:
            if sum(map(len, frames)) < _BUFFER_BYTES:
                self._end.sendall(b"".join(parts))
                return
            for part in parts:
                self._end.sendall(part)

    def receive(self) -> Message:
        """Block until the next message. Raises EOFError or OSError when the other side is closed."""
        kind, _, text = self._frame().partition(b" ")
        name, body = kind.decode(), parse_json(text)
        for payload in _PAYLOADS.get(name, ()):
            body[payload] = self._frame()
        message: Message = _PLAIN[name](**body) if name in _PLAIN else _ADAPTERS[name].validate_python(body)
        return message

    def _frame(self) -> bytes:
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data: bytes = self._received.read(size)
        if len(data) < size:
            raise EOFError("the other side is closed")
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):  # The other side may have closed it.
            self._end.shutdown(socket.SHUT_RDWR)  # A thread that receives holds the file: it ends now.
        self._received.close()
        self._end.close()
