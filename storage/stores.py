"""Open the stores of images and uploads that the settings name."""

from __future__ import annotations

from core.extras import require_extras
from core.settings import Settings
from core.storage.local import LocalImageStore
from core.storage.store import ImageStore
from core.storage_url import FileLocation, Location


def open_images(settings: Settings) -> ImageStore:
    """Return the store of finished images. Raises MissingExtra for a bucket without the extra `s3`."""
    return open_part(settings.storage_location, "images", presign=settings.storage_links)


def open_uploads(settings: Settings) -> ImageStore:
    """Return the store of uploads. Raises MissingExtra for a bucket without the extra `s3`."""
    return open_part(settings.storage_location, "uploads")


def open_part(location: Location, part: str, *, presign: bool = False) -> ImageStore:
    """Return the store of `part`, `images` or `uploads`, at a location; nothing is reached yet."""
    if isinstance(location, FileLocation):
        return LocalImageStore(location.root / part)
    require_extras("s3", purpose="Storage in a bucket")
    from storage.s3 import S3ImageStore

    return S3ImageStore(location, part, presign=presign)


def link_origin(settings: Settings) -> str | None:
    """Return the origin (scheme, host and port) that links to stored files lead to; None unless `storage_links` is set."""
    if not settings.storage_links or isinstance(settings.storage_location, FileLocation):
        return None
    require_extras("s3", purpose="Storage in a bucket")
    from storage.s3 import S3ImageStore

    return S3ImageStore(settings.storage_location, "images", presign=True).link_origin()
