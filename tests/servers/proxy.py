"""Small reverse proxies for tests: one serves an upstream under a path, one takes turns between several upstreams."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol
from urllib.parse import urlsplit

_CONNECTION = re.compile(rb"\r\n(?:connection|keep-alive):[^\r\n]*", re.IGNORECASE)


class Proxy(Protocol):
    """What `proxied` runs."""

    prefix: bytes

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


class RoundRobin:
    """Pass each connection to the next upstream port on loopback that accepts it; `served` counts them by port."""

    prefix = b""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self.served: Counter[int] = Counter()
        self._running: set[asyncio.Task[None] | None] = set()

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy both ways until one side closes; close at once when no upstream accepts."""
        task = asyncio.current_task()
        self._running.add(task)
        upstream = None
        try:
            if (found := await self._connect()) is not None:
                answer, upstream = found
                up, down = (asyncio.create_task(_copy(*pair)) for pair in ((reader, upstream), (answer, writer)))
                try:
                    await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    up.cancel()
                    down.cancel()
        finally:
            for end in (writer, upstream):
                if end is not None:
                    await _close(end)
            self._running.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._ports:
            self._ports.append(port := self._ports.pop(0))
            with suppress(OSError):
                opened = await asyncio.open_connection("127.0.0.1", port)
                self.served[port] += 1
                return opened
        return None


class SubPathProxy:
    """One request a connection; what is not under `prefix` is answered with 404 and kept in `strays`."""

    def __init__(self, upstream: str, prefix: str, *, strip: bool = True, headers: dict[str, str] | None = None) -> None:
        parts = urlsplit(upstream)
        self._upstream = str(parts.hostname), int(parts.port or 80)
        self.prefix, self._strip = prefix.encode(), strip
        self._added = "".join(f"\r\n{name}: {value}" for name, value in (headers or {}).items()).encode()
        self.strays: list[str] = []
        self._running: set[asyncio.Task[None] | None] = set()

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request and its answer on."""
        task = asyncio.current_task()
        self._running.add(task)  # the loop keeps weak references only: a closing connection's task could be collected
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            await _close(writer)
            self._running.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
        method, target, rest = head.split(b" ", 2)
        if not target.startswith(self.prefix + b"/"):
            self.strays.append(target.decode())
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        passed = target.removeprefix(self.prefix) if self._strip else target
        rest = _CONNECTION.sub(b"", rest) + b"\r\nConnection: close" + self._added
        answer, request = await asyncio.open_connection(*self._upstream)
        body = None
        try:
            request.write(b" ".join((method, passed, rest)) + b"\r\n\r\n")
            body = asyncio.create_task(_copy(reader, request))
            await _copy(answer, writer)
        finally:
            if body is not None:
                body.cancel()
            await _close(request)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()


@contextmanager
def proxied(proxy: Proxy) -> Iterator[str]:
    """Run a proxy in a thread; yield the URL under which it serves."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(proxy.serve_one, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        await asyncio.sleep(0)  # a connection that was just accepted starts its task in the next turn of the loop
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}{proxy.prefix.decode()}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
