"""The checks that `imagefarm doctor` makes of data directory, ports, database and Redis."""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import FarmError
from core.misspelt_settings import misspelt_settings
from core.settings import Settings
from db import health, migrate
from db.database import Database
from db.faults import DatabaseUnusable
from supervisor import data_dir, embedded_redis
from supervisor.embedded_redis import find_redis_binary
from supervisor.startup_checks import AlreadyRunning, take_port
from worker.models.doctor import Check


def farm_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks one by one; none of them raises."""
    yield from (Check("settings", "warning", sentence) for sentence in misspelt_settings())
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
    where = embedded_redis.place_of(settings.redis_url)
    problem = embedded_redis.problem_with(settings.redis_url)
    if problem is None:
        return Check("redis", "ok", f"{where} answers")
    return Check("redis", "problem", problem, "Check IMAGEFARM_REDIS_URL and the server behind it.")


def _database(settings: Settings) -> Check:
    advice = "Check IMAGEFARM_DATABASE_URL and the server behind it." if settings.database_url else ""
    try:
        database = Database(settings.resolved_database_url, pool_size=1)
        try:
            return _check_database(settings, database)
        finally:
            database.dispose()
    except DatabaseUnusable as error:
        return Check("database", "problem", error.message)
    except FarmError as error:
        return Check("database", "problem", error.message, advice)


def _check_database(settings: Settings, database: Database) -> Check:
    if database.is_sqlite:
        where = f"SQLite at {database.url.database}"
        if not health.exists(database):
            return Check("database", "ok", f"{where}, which the first start creates")
    else:
        where = f"{database.url.get_backend_name()} at {database.url.host}"
    health.check(database, thorough=True)
    if migrate.differences(settings.resolved_database_url):
        return Check("database", "warning", f"{where} answers; its tables do not match this version", "imagefarm db upgrade")
    return Check("database", "ok", f"{where} answers, tables up to date")
