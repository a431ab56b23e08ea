"""Choose an image format by the Accept header; make conversions and thumbnails off the event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

from api.threads import in_thread
from core.errors import FarmError, InvalidInput
from core.imagefile import MEDIA_TYPES, ImageFormat, convert, thumbnail
from core.storage import ImageStore

FORMATS: Mapping[str, ImageFormat] = MappingProxyType({kind: name for name, kind in MEDIA_TYPES.items()})


def stored_format(name: str) -> ImageFormat:
    """Return the format of a stored file from its database column."""
    return {"png": "png", "webp": "webp"}.get(name, "jpeg")  # type: ignore[return-value]


def negotiate(accept: str | None, stored: ImageFormat) -> ImageFormat:
    """Return the stored format unless another has a higher weight; raise FarmError `not_acceptable` when none is accepted.

    A wildcard that accepts the stored format counts as its name: browsers list WebP before `*/*;q=0.8` whenever they
    open or save an image, and mean the file as it is.
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
        raise FarmError(f"Images are available as {', '.join(FORMATS)}: accept one of them.", code="not_acceptable")
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
    return min(max(value, 0.0), 1.0) if value == value else 0.0  # noqa: PLR0124 -- NaN is not equal to itself


def _weight(kind: str, wanted: dict[str, float]) -> float:
    """Return the weight of the most specific range that names the type (RFC 9110, 12.5.1)."""
    return next((wanted[name] for name in (kind, "image/*", "*/*") if name in wanted), 0.0)


_MAX_CONCURRENT = 2
_CACHE_BYTES = 16 * 2**20


class ImageVariants:
    """Reads stored images, converts them, and caches the latest thumbnails."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._decoding = asyncio.Semaphore(_MAX_CONCURRENT)
        self._thumbnails: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._cached_bytes = 0

    async def file(self, key: str) -> bytes:
        """Return the file as it was stored."""
        return await in_thread(self._store.read, key)

    async def converted(self, key: str, target: ImageFormat, quality: int = 92) -> bytes:
        """Return the image in another format, with its metadata. `quality` (1-100) is for JPEG and WebP."""
        data = await self.file(key)
        async with self._decoding:
            try:
                return await in_thread(lambda: convert(data, target, quality=quality))
            except InvalidInput as error:
                if error.code != "image_too_large":
                    raise
                raise InvalidInput(
                    "This image is too large to be converted: ask for the file as it is stored, without a format.",
                    field="format",
                    code=error.code,
                ) from None

    async def thumbnail(self, key: str, max_side: int) -> bytes:
        """Return a WebP of at most `max_side` pixels on its longer side."""
        found = self._thumbnails.get((key, max_side))
        if found is None:
            data = await in_thread(self._store.read_reduced, key)
            async with self._decoding:
                found = await in_thread(thumbnail, data, max_side)
            self._cache((key, max_side), found)
        return found

    def _cache(self, name: tuple[str, int], data: bytes) -> None:
        if name in self._thumbnails:
            return
        self._thumbnails[name] = data
        self._cached_bytes += len(data)
        while self._cached_bytes > _CACHE_BYTES:
            self._cached_bytes -= len(self._thumbnails.popitem(last=False)[1])
