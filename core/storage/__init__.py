"""Storage of finished images: keys, the store, and export under readable names."""

from core.storage.export import export_file, link_file
from core.storage.local import LocalImageStore, StoredFile, image_key, job_and_attempt
from core.storage.store import ImageStore, RemoteFile

__all__ = [
    "ImageStore",
    "LocalImageStore",
    "RemoteFile",
    "StoredFile",
    "export_file",
    "image_key",
    "job_and_attempt",
    "link_file",
]
