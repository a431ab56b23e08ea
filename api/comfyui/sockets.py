"""The web sockets of this process's clients. An idle one has no task of its own and is never polled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Iterable

from starlette.websockets import WebSocket, WebSocketDisconnect

from api.comfyui.messages import Message, status

logger = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Messages that may wait for a slow reader, whose socket is then closed."""
MAX_WAITING_PREVIEWS = 4
_AT_ONCE = 10
"""Sockets that a broadcast is passed to before other tasks run."""
_PAUSE_SECONDS = 0.005
_TRY_AGAIN_LATER = 1013

Key = tuple[str, str]
"""Owner and client id."""


class Socket:
    """One client's socket. Messages wait in order and are sent by a task that exists only while some wait."""

    def __init__(self, websocket: WebSocket, key: Key) -> None:
        self.key = key
        self._websocket = websocket
        self._waiting: deque[str | bytes] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._is_closed = False

    def send(self, message: str | bytes) -> None:
        """Send a message soon. A slow reader misses previews."""
        if self._is_closed or (isinstance(message, bytes) and len(self._waiting) > MAX_WAITING_PREVIEWS):
            return
        self._waiting.append(message)
        if len(self._waiting) > MAX_WAITING:
            self._is_closed = True
            self._waiting.clear()
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_waiting())

    def close(self) -> None:
        """Stop sending."""
        self._is_closed = True
        self._waiting.clear()

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                message = self._waiting.popleft()
                if isinstance(message, bytes):
                    await self._websocket.send_bytes(message)
                else:
                    await self._websocket.send_text(message)
            if self._is_closed:
                await self._websocket.close(_TRY_AGAIN_LATER)
        except (WebSocketDisconnect, RuntimeError, OSError):
            self._is_closed = True
        finally:
            self._sending = None


class Sockets:
    """All sockets by owner and client id. A new one of a client replaces the one before, as in ComfyUI."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Socket] = {}
        self._by_owner: dict[str, dict[Key, Socket]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def join(self, socket: Socket) -> None:
        """Add a socket."""
        self._by_key[socket.key] = socket
        self._by_owner.setdefault(socket.key[0], {})[socket.key] = socket

    def leave(self, socket: Socket) -> None:
        """Remove a socket, unless another one has taken its place."""
        socket.close()
        if self._by_key.get(socket.key) is not socket:
            return
        del self._by_key[socket.key]
        mine = self._by_owner[socket.key[0]]
        del mine[socket.key]
        if not mine:
            del self._by_owner[socket.key[0]]

    def owners(self, among: Iterable[str]) -> list[str]:
        """Return those of the owners that have a socket here."""
        return [owner for owner in among if owner in self._by_owner]

    def tell(self, key: Key, messages: Iterable[Message]) -> None:
        """Send events to one client, if its socket is here."""
        if (socket := self._by_key.get(key)) is not None:
            for message in messages:
                socket.send(encoded(message))

    def show(self, key: Key, preview: bytes) -> None:
        """Send a binary message to one client, if its socket is here."""
        if (socket := self._by_key.get(key)) is not None:
            socket.send(preview)

    async def tell_owner(self, owner: str, remaining: int) -> None:
        """Send the length of the queue to all sockets of an owner, without delaying other tasks."""
        message = encoded(status(remaining))
        for number, socket in enumerate(list(self._by_owner.get(owner, {}).values())):
            socket.send(message)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(_PAUSE_SECONDS)


def encoded(message: Message) -> str:
    """Return an event as JSON text."""
    return json.dumps({"type": message[0], "data": message[1]})
