"""The checks that `imagefarm doctor` makes of data directory, ports, database and Redis."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from core.errors import FarmError
from core.settings import Settings
from db import migrate
from db.database import Database
from supervisor import data_dir, embedded_redis
from supervisor.embedded_redis import find_redis_binary
from supervisor.startup_checks import AlreadyRunning, take_port
from worker.models.doctor import Check


def farm_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks one by one; none of them raises."""
    running = _running(settings)
    yield running
    if running.status == "ok":
        yield _port("api port", settings.host, settings.port, "--port")
        yield _port("flower port", settings.flower_host, settings.flower_port, "--flower-port")
    yield _redis(settings)
    yield _database(settings)


def _running(settings: Settings) -> Check:
    """Check that the data directory can be written, and whether a farm runs on it."""
    try:
        data_dir.prepare(settings.data_dir)
        with data_dir.lock(settings.data_dir):
            return Check("data", "ok", f"{settings.data_dir} can be written; no farm is running on it")
    except AlreadyRunning as error:
        return Check("data", "warning", error.message)
    except FarmError as error:
        return Check("data", "problem", error.message)


def _port(name: str, host: str, port: int, option: str) -> Check:
    try:
        return Check(name, "ok", f"{host}:{take_port(host, port, option)} is free")
    except FarmError as error:
        return Check(name, "problem", error.message)


def _redis(settings: Settings) -> Check:
    if not settings.redis_url:
        try:
            return Check("redis", "ok", f"`imagefarm up` runs {find_redis_binary()}")
        except FarmError as error:
            return Check("redis", "problem", error.message)
    place = urlsplit(settings.redis_url)
    where = f"{place.hostname}:{place.port or 6379}"
    if embedded_redis.answers(settings.redis_url):
        return Check("redis", "ok", f"{where} answers")
    return Check("redis", "problem", f"{where} does not answer", "Check IMAGEFARM_REDIS_URL and the server behind it.")


def _database(settings: Settings) -> Check:
    if not settings.database_url:
        return Check("database", "ok", f"SQLite at {settings.data_dir / 'imagefarm.db'}")
    try:
        database = Database(settings.database_url)
        where = f"{database.url.get_backend_name()} at {database.url.host}"
        with database.read() as session:
            session.connection()
        database.dispose()
    except FarmError as error:
        return Check("database", "problem", error.message, "Check IMAGEFARM_DATABASE_URL and the server behind it.")
    if migrate.differences(settings.database_url):
        return Check("database", "warning", f"{where} answers; its tables do not match this version", "imagefarm db upgrade")
    return Check("database", "ok", f"{where} answers, tables up to date")
