"""A response from an open file: what was opened is sent whole, even when the file is deleted meanwhile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import BinaryIO

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send


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
