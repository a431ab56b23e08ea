"""Other files from stored pictures: formats and thumbnails, made off the event loop, a few at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from api.threads import in_thread
from core.imagefile import ImageFormat, convert, thumbnail
from core.storage import LocalImageStore

_AT_ONCE = 2
_REMEMBERED_BYTES = 16 * 2**20


class Pictures:
    """Reads from the image store; keeps the latest thumbnails."""

    def __init__(self, store: LocalImageStore) -> None:
        self._store = store
        self._busy = asyncio.Semaphore(_AT_ONCE)
        self._thumbnails: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._held = 0

    async def file(self, key: str) -> bytes:
        """The file as it was stored."""
        return await in_thread(self._store.read, key)

    async def converted(self, key: str, target: ImageFormat) -> bytes:
        """The picture in another format, its metadata kept."""
        data = await self.file(key)
        async with self._busy:
            return await in_thread(lambda: convert(data, target))

    async def thumbnail(self, key: str, max_side: int) -> bytes:
        """A small WebP."""
        found = self._thumbnails.get((key, max_side))
        if found is None:
            data = await self.file(key)
            async with self._busy:
                found = await in_thread(thumbnail, data, max_side)
            self._remember((key, max_side), found)
        return found

    def _remember(self, name: tuple[str, int], data: bytes) -> None:
        if name in self._thumbnails:
            return
        self._thumbnails[name] = data
        self._held += len(data)
        while self._held > _REMEMBERED_BYTES:
            self._held -= len(self._thumbnails.popitem(last=False)[1])
