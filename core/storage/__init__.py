"""Where finished images live: keys, the store, and export under friendly names."""

from core.storage.export import export_file
from core.storage.keys import image_key, job_and_attempt
from core.storage.local import LocalImageStore
from core.storage.stored import StoredFile

__all__ = ["LocalImageStore", "StoredFile", "export_file", "image_key", "job_and_attempt"]
