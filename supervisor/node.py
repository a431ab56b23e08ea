"""Run the workers of a machine that has joined a farm, and check beforehand that they can work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from redis.exceptions import RedisError
from sqlalchemy import Connection, text

from core.errors import FarmError, Unavailable
from core.node import node_name, worker_name_for
from core.settings import Settings
from core.storage_url import FileLocation
from db.database import Database
from db.faults import NEWER, DatabaseUnusable
from db.join_tokens import database_time
from db.schema_revision import check_usable
from storage.stores import open_images
from supervisor import data_dir, embedded_redis
from supervisor.child import ChildSpec
from supervisor.console import Console
from supervisor.events import ChildEnded, ChildFrozen, Events, StopRequested
from supervisor.join import Device
from supervisor.plan import KILL_MARGIN_SECONDS, command
from supervisor.process_manager import ProcessManager

MOST_CLOCK_SECONDS = 30.0
"""Clocks further apart make logs and signed requests to buckets wrong; leases follow the database's clock alone."""
_IDLE_SECONDS = 3600.0


class NodeUnfit(FarmError):
    """This machine cannot work for the farm; the message says what to repair."""

    code = "node_unfit"


def check_node(settings: Settings) -> None:
    """Reach Redis, database and storage, and compare schema and clock. Raises FarmError for the first fault."""
    try:
        embedded_redis.check_access(settings.redis_url)
    except RedisError as error:
        raise Unavailable(
            f"Redis at {embedded_redis.place_of(settings.redis_url)} cannot be reached from this machine "
            f"({type(error).__name__}): check firewalls, and which address it listens on.",
            code="redis_unavailable",
        ) from error
    database = Database(settings.resolved_database_url, pool_size=1)
    try:
        with database.read() as session:
            _check_schema(session.connection())
            session.execute(text("SELECT version_num FROM alembic_version"))
        _check_clock(database_time(database) - time.time())
    finally:
        database.dispose()
    location = settings.storage_location
    if isinstance(location, FileLocation) and not settings.images_dir.is_dir():
        raise NodeUnfit(f"{settings.images_dir}, in which the farm stores images, is not there: mount it on this machine.")
    open_images(settings).check_writable()


def _check_schema(connection: Connection) -> None:
    """Raise DatabaseUnusable, except for a newer schema: the next release only adds to it."""
    try:
        check_usable(connection)
    except DatabaseUnusable as error:
        if error.code != NEWER:
            raise


def _check_clock(ahead: float) -> None:
    """Raise NodeUnfit when the farm's clock is that many seconds ahead of this machine's."""
    if abs(ahead) > MOST_CLOCK_SECONDS:
        side = "behind" if ahead > 0 else "ahead of"
        raise NodeUnfit(f"This machine's clock is {abs(ahead):.0f} s {side} the farm's: set it by NTP, then join again.")


class NodeSupervisor:
    """Runs one worker for each device until a stop signal arrives, or until the machine is removed from the farm."""

    def __init__(self, settings: Settings, devices: Sequence[Device]) -> None:
        self._settings, self._devices = settings, devices
        self._events = Events()

    def run(self) -> bool:
        """Run the workers. Returns False when one had to be killed at the end."""
        data_dir.prepare(self._settings.data_dir)
        console = Console(self._settings.data_dir / "logs", json_lines=self._settings.log_format == "json")
        with data_dir.lock(self._settings.data_dir), closing(console):
            processes = ProcessManager(console, self._events)
            with self._events.catching_signals():
                try:
                    for spec in worker_specs(self._settings, self._devices):
                        processes.start(spec)
                    self._watch(console, processes)
                finally:
                    clean = processes.stop()
        return clean

    def _watch(self, console: Console, processes: ProcessManager) -> None:
        while processes.count:
            match self._events.next(processes.seconds_until_due(_IDLE_SECONDS)):
                case StopRequested():
                    return
                case ChildEnded(child):
                    if child.exit_code == 0:
                        processes.forget(child)
                        console.farm(f"{child.spec.name} was asked to stop by the farm and is not started again")
                    else:
                        processes.ended(child)
                case ChildFrozen(child):
                    processes.frozen(child)
                case None:
                    processes.handle_due()


def worker_specs(settings: Settings, devices: Sequence[Device]) -> list[ChildSpec]:
    """Return a worker for each device, named by machine and device; passwords are in its environment only."""
    node = node_name(settings)
    shared = {
        "IMAGEFARM_DATA_DIR": str(settings.data_dir),
        "IMAGEFARM_REDIS_URL": settings.redis_url,
        "IMAGEFARM_REDIS_PREFIX": settings.redis_prefix,
        "IMAGEFARM_DATABASE_URL": settings.database_url,
        "IMAGEFARM_STORAGE_URL": settings.storage_url,
        "IMAGEFARM_MODEL": settings.model,
        "IMAGEFARM_NODE_NAME": node,
    }
    return [
        ChildSpec(
            device.label,
            command("worker"),
            {**shared, "IMAGEFARM_WORKER_NAME": worker_name_for(node, device.label), **device.environment},
            stop_seconds=settings.drain_seconds + KILL_MARGIN_SECONDS,
        )
        for device in devices
    ]
