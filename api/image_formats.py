"""Choose an image format by the Accept header, and make conversions and thumbnails off the event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from api.threads import in_thread
from core.errors import FarmError
from core.imagefile import MEDIA_TYPES, ImageFormat, convert, thumbnail
from core.storage import LocalImageStore

FORMATS: dict[str, ImageFormat] = {kind: name for name, kind in MEDIA_TYPES.items()}


def stored_format(name: str) -> ImageFormat:
    """The format of a stored file, by its column."""
    return {"png": "png", "webp": "webp"}.get(name, "jpeg")  # type: ignore[return-value]


def negotiate(accept: str | None, stored: ImageFormat) -> ImageFormat:
    """The stored format unless another is asked for more strongly; FarmError `not_acceptable` when none will do.

    A wildcard that takes the stored format is as good as its name: browsers list WebP before `*/*;q=0.8` whenever they
    open or save a picture, and mean the file as it is.
    """
    if not accept:
        return stored
    wanted = _ranges(accept)
    best, best_weight = stored, _weight(MEDIA_TYPES[stored], wanted)
    if MEDIA_TYPES[stored] not in wanted and best_weight > 0:
        return stored
    for kind, name in FORMATS.items():
        if (weight := _weight(kind, wanted)) > best_weight:
            best, best_weight = name, weight
    if best_weight <= 0:
        raise FarmError(f"Pictures come as {', '.join(FORMATS)}: accept one of them.", code="not_acceptable")
    return best


def _ranges(accept: str) -> dict[str, float]:
    found = {}
    for part in accept.split(",")[:50]:
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        found[kind] = next((_quality(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
    return found


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(max(value, 0.0), 1.0) if value == value else 0.0  # noqa: PLR0124 -- NaN is not itself


def _weight(kind: str, wanted: dict[str, float]) -> float:
    """The most specific range that names the type decides (RFC 9110, 12.5.1)."""
    return next((wanted[name] for name in (kind, "image/*", "*/*") if name in wanted), 0.0)


_AT_ONCE = 2
_REMEMBERED_BYTES = 16 * 2**20


class ImageVariants:
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
