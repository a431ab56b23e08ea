"""A response from an open file: what was opened is sent whole, even when the file is deleted meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import BinaryIO

import anyio
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from api.threads import in_thread
from core.storage import RemoteFile


class OpenFileResponse(FileResponse):
    """Sends an open file with its ranges, and closes it. Status and length are those of the open file, not of its name."""

    def __init__(self, file: BinaryIO, *, media_type: str, headers: Mapping[str, str]) -> None:
        self._file = file
        number = file.fileno()
        # Opening this path opens the same file, which needs no name any more.
        super().__init__(f"/dev/fd/{number}", media_type=media_type, headers=headers, stat_result=os.fstat(number))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response and close the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


class RemoteFileResponse(FileResponse):
    """Passes a file of a bucket on while it is read, with its ranges, and keeps a few blocks of it in memory at most."""

    chunk_size = 256 * 1024

    def __init__(self, file: RemoteFile, *, media_type: str, headers: Mapping[str, str]) -> None:
        self._file = file
        facts = os.stat_result((stat.S_IFREG, 0, 0, 0, 0, 0, file.size, *(int(file.modified_at),) * 3))
        super().__init__("/dev/null", media_type=media_type, headers=headers, stat_result=facts)

    @asynccontextmanager
    async def _open_file(self) -> AsyncIterator[_RemoteReader]:  # type: ignore[override]
        reader = _RemoteReader(self._file)
        try:
            yield reader
        finally:
            with anyio.CancelScope(shield=True):
                await reader.aclose()


class _RemoteReader:
    """The part of an asynchronous file that FileResponse uses."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._blocks: Iterator[bytes] | None = None
        self._rest = b""

    async def seek(self, offset: int) -> None:
        await self.aclose()
        self._blocks, self._rest = self._file.blocks(offset), b""

    async def read(self, size: int) -> bytes:
        """Return `size` bytes, and fewer only at the end."""
        if self._blocks is None:
            self._blocks = self._file.blocks()
        while len(self._rest) < size and (block := await in_thread(next, self._blocks, b"")):
            self._rest += block
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def aclose(self) -> None:
        blocks, self._blocks = self._blocks, None
        if isinstance(blocks, Generator):
            await in_thread(blocks.close)


def file_response(file: BinaryIO | RemoteFile, *, media_type: str, headers: Mapping[str, str]) -> Response:
    """Return a response that sends an open file of any store."""
    kind = RemoteFileResponse if isinstance(file, RemoteFile) else OpenFileResponse
    return kind(file, media_type=media_type, headers=headers)  # type: ignore[arg-type]
