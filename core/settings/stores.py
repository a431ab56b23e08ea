"""Settings of where a farm keeps its data: database, Redis, images and other files."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, Field

from core.connection_urls import sqlite_url
from core.settings.value_types import DEFAULT_DATA_DIR, DatabaseUrl, DataFolder, RedisUrl, StorageUrl
from core.storage_url import FileLocation, Location, parse_storage_url


class StoreSettings(BaseModel):
    """The data directory, and the servers and folders that hold what is not in it."""

    data_dir: DataFolder = Field(
        DEFAULT_DATA_DIR, description="Folder of the database, images, the embedded Redis and built models."
    )
    data_dir_shared: bool = Field(
        False,
        description="Leave the permissions of `data_dir` to you and your umask, for people who share it. Otherwise only the "
        "farm's user can read it.",
    )
    database_url: DatabaseUrl = Field(
        "", description="SQLAlchemy URL, such as `postgresql+psycopg://user:pass@host/db`. Empty: SQLite in `data_dir`."
    )
    redis_url: RedisUrl = Field(
        "",
        description="Such as `redis://host:6379/0`, or with Sentinels "
        "`redis+sentinel://:password@one:26379,two:26379/mymaster/0`. Empty: `imagefarm up` runs a Redis server itself.",
    )
    redis_prefix: str = Field("farm:", description="Prefix of every Redis key, so that several farms can share a server.")

    storage_url: StorageUrl = Field(
        "",
        description="Where images and uploads are stored: a folder that all machines share, such as `file:///srv/farm`, or "
        "an S3-compatible bucket, `s3://bucket/prefix?endpoint=https://s3.example:9000` (extra `s3`), with `KEY:SECRET@` "
        "before the bucket or credentials where AWS tools look for them. Empty: `data_dir`.",
    )
    storage_links: bool = Field(
        False,
        description="Send clients that fetch a stored file to the bucket, with a link that is valid for ten minutes, "
        "instead of passing the file through the API. They must reach the bucket.",
    )

    @cached_property
    def resolved_database_url(self) -> str:
        """Return `database_url`, or the URL of SQLite in the data directory."""
        return self.database_url or sqlite_url(self.data_dir / "imagefarm.db")

    @cached_property
    def storage_location(self) -> Location:
        """Return where images and uploads are stored."""
        return parse_storage_url(self.storage_url) if self.storage_url else FileLocation(self.data_dir)

    @cached_property
    def _storage_root(self) -> Path:
        location = self.storage_location
        return location.root if isinstance(location, FileLocation) else self.data_dir

    @cached_property
    def images_dir(self) -> Path:
        """Return the root folder of the local image store."""
        return self._storage_root / "images"

    @cached_property
    def wildcards_dir(self) -> Path:
        """Return the folder of wildcards, text files that dynamic prompts choose from."""
        return self.data_dir / "wildcards"

    @property
    def uploads_dir(self) -> Path:
        """Return the root folder of the store of uploads."""
        return self._storage_root / "uploads"

    @cached_property
    def spool_dir(self) -> Path:
        """Return the folder of results on their way from an engine to the image store."""
        return self.data_dir / "spool"
