"""What a machine gets when it joins, and why it could not use it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.connection_urls import POSTGRES_EXAMPLE, REDIS_EXAMPLE
from core.errors import Conflict
from core.exposure import is_loopback
from core.settings import Settings

_RELEASE = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class JoinAddresses:
    """URLs of Redis, database and storage as other machines reach them; they hold passwords."""

    redis_url: str
    database_url: str
    storage_url: str

    @classmethod
    def of(cls, settings: Settings) -> JoinAddresses:
        """Return what the settings name for other machines, else what the control box itself uses."""
        return cls(
            redis_url=settings.join_redis_url or settings.redis_url,
            database_url=settings.join_database_url or settings.resolved_database_url,
            storage_url=settings.join_storage_url or settings.storage_url or settings.data_dir.as_uri(),
        )

    def check(self, *, is_remote: bool) -> None:
        """Raise Conflict `join_not_possible` when another machine cannot use one of them; `is_remote`: it is another one."""
        lacking = [] if self.redis_url else [("no Redis is configured", "IMAGEFARM_REDIS_URL", REDIS_EXAMPLE)]
        if is_remote:
            if self.database_url.startswith("sqlite"):
                lacking.append(("its database is a file of the control box", "IMAGEFARM_DATABASE_URL", POSTGRES_EXAMPLE))
            elif _is_loopback(self.database_url):
                lacking.append(("its database is on loopback", "IMAGEFARM_JOIN_DATABASE_URL", POSTGRES_EXAMPLE))
            if self.redis_url and _is_loopback(self.redis_url):
                lacking.append(("its Redis is on loopback", "IMAGEFARM_JOIN_REDIS_URL", REDIS_EXAMPLE))
        if lacking:
            reasons = ", and ".join(why for why, _, _ in lacking)
            settings = " and ".join(f"{setting}, such as {example}," for _, setting, example in lacking)
            raise Conflict(
                f"Other machines cannot join this farm: {reasons}. Set {settings} on the control box, and restart the farm.",
                code="join_not_possible",
            )

    def check_before_joining(self, *, is_remote: bool) -> None:
        """Raise like `check` for what an administrator's shell knows for sure: a farm on SQLite.

        Of a farm on Postgres it may know the database alone; the API checks the rest when the machine joins.
        """
        if self.database_url.startswith("sqlite"):
            self.check(is_remote=is_remote or not self.redis_url)


def check_version(own: str, other: str) -> None:
    """Raise Conflict `version_mismatch` unless the machine's version `other` is of the farm's release, such as 0.3."""
    mine, theirs = _RELEASE.match(own), _RELEASE.match(other)
    if own != other and (mine is None or theirs is None or mine[0] != theirs[0]):
        raise Conflict(
            f"This machine runs imagefarm {other} and the farm {own}: install that version here, then join again.",
            code="version_mismatch",
        )


def _is_loopback(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "localhost")
