"""HTTP/1.1 over a bare asyncio stream, so that the load generator itself costs little."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Connection:
    """One keep-alive connection; responses must have a Content-Length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a server on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def call(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """Send a request and return (status, body)."""
        self.send(method, path, body, headers)
        status, length = await self._head()
        return status, await self._reader.readexactly(length)

    def send(self, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
        """Send a request without reading its response, for streams and long polls."""
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}{headers}\r\n".encode() + body)

    async def _head(self) -> tuple[int, int]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return int(head.split(b" ", 2)[1]), int(length or 0)

    async def first_line(self) -> bytes:
        """Read the status line of a streamed response."""
        return await self._reader.readline()

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()


async def submit(connection: Connection, number: int, owner: str = "bench", **changes: Any) -> str:  # noqa: ANN401
    """Submit a job and return its id."""
    body = {"prompt": f"job {number}", "width": 64, "height": 64, "num_inference_steps": 1, "seed": number} | changes
    headers = f"X-Client-Label: {owner}\r\n"
    status, answer = await connection.call("POST", "/v1/jobs", json.dumps(body).encode(), headers)
    if status != 202:
        raise RuntimeError(f"{status}: {answer[:300]!r}")
    job_id: str = json.loads(answer)["id"]
    return job_id
