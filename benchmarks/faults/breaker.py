"""Inject random faults into a farm, reproducible by seed."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
from redis import Redis
from redis.exceptions import RedisError

from benchmarks.faults.broker import junk_messages
from benchmarks.faults.parts import FarmParts
from tests.servers.postgres import PostgresServer

FAULTS = {
    "worker": 40,
    "engine": 20,
    "freeze": 6,
    "redis": 8,
    "redis+data": 6,
    "api": 10,
    "reaper": 10,
    "postgres": 6,
    "storage": 6,
    "name clash": 4,
    "junk messages": 6,
    "client kill": 6,
    "redis freeze": 4,
    "replica": 5,
}
"""Relative frequency of each fault."""


CLASH_SECONDS = 300.0
"""A second worker of a live name must end within this time."""


@dataclass(frozen=True)
class Kill:
    """One fault; `at` in seconds since 1970 (server and client share this machine's clock)."""

    fault: str
    part: str
    at: float


@dataclass
class Breaker:
    """Breaks a part every `pause_seconds` until `count` faults are done, and restarts what it killed.

    `restart_seconds` stands for the supervisor's back-off. A frozen worker resumes after `freeze_seconds`.
    """

    farm: FarmParts
    random: random.Random
    count: int
    pause_seconds: float
    freeze_seconds: float
    postgres: PostgresServer | None = None
    restart_seconds: float = 0.5
    kills: list[Kill] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    _frozen: set[str] = field(default_factory=set)
    _helpers: list[threading.Thread] = field(default_factory=list)
    clashes_not_refused: int = 0
    """Second workers of a live name that were not refused."""
    ended_with_status_zero: int = 0
    """Parts that ended by themselves with exit code 0."""

    def start(self) -> threading.Thread:
        """Start; join the thread to wait for the last fault and for all parts to run again."""
        thread = threading.Thread(target=self._run, name="breaker")
        thread.start()
        return thread

    def summary(self) -> dict[str, int]:
        """Return the number of faults of each kind."""
        return dict(Counter(kill.fault for kill in self.kills))

    def _run(self) -> None:
        names = [name for name in FAULTS if name != "postgres" or self.postgres is not None]
        weights = [FAULTS[name] for name in names]
        faults: dict[str, Callable[[], str | None]] = {
            "worker": self._worker,
            "engine": self._engine,
            "freeze": self._freeze,
            "redis": lambda: self._redis(lose_data=False),
            "redis+data": lambda: self._redis(lose_data=True),
            "api": lambda: self._restart("api"),
            "reaper": lambda: self._restart("reaper"),
            "postgres": self._postgres,
            "storage": self._storage,
            "name clash": self._name_clash,
            "junk messages": lambda: self._with_redis(self._send_junk),
            "client kill": lambda: self._with_redis(self._kill_clients),
            "redis freeze": self._freeze_redis,
            "replica": lambda: self._with_redis(self._make_replica),
        }
        once = self.random.sample(names, len(names))  # Even a short run has one fault of each kind.
        while len(self.kills) < self.count:
            time.sleep(self.pause_seconds * self.random.uniform(0.5, 1.5))
            name = once.pop() if once else self.random.choices(names, weights)[0]
            at = time.time()
            if (part := faults[name]()) is not None:
                self.kills.append(Kill(name, part, at))
            self._restart_ended()
        for helper in self._helpers:
            helper.join()
        self._restart_ended()
        self.done.set()

    def _some_worker(self) -> str | None:
        names = [part.name for part in self.farm.worker_parts() if part.name not in self._frozen]
        return self.random.choice(names) if names else None

    def _worker(self) -> str | None:
        return self._restart(name) if (name := self._some_worker()) else None

    def _restart(self, name: str) -> str:
        part = self.farm.parts[name]
        part.kill()
        time.sleep(self.restart_seconds)
        part.start()
        return name

    def _restart_ended(self) -> None:
        """Restart parts that ended by themselves, as a supervisor would."""
        for part in self.farm.parts.values():
            if part.process is not None and (status := part.process.poll()) is not None:
                self.ended_with_status_zero += status == 0
                part.start()

    def _engine(self) -> str | None:
        name = self._some_worker()
        engines = self.farm.parts[name].engines() if name else []
        try:
            for engine in engines:
                engine.kill()
        except psutil.NoSuchProcess:
            return None
        return name if engines else None

    def _freeze(self) -> str | None:
        if self._frozen or (name := self._some_worker()) is None:
            return None
        self._frozen.add(name)
        part = self.farm.parts[name]
        part.send(signal.SIGSTOP)

        def resume() -> None:
            part.send(signal.SIGCONT)
            self._frozen.discard(name)

        self._later(self.freeze_seconds, resume)
        return name

    def _redis(self, *, lose_data: bool) -> str:
        self.farm.redis.kill(lose_data=lose_data)
        time.sleep(self.random.uniform(0.2, 2.0))
        self.farm.redis.start()
        return "redis"

    def _postgres(self) -> str | None:
        if self.postgres is None:
            return None
        self.postgres.cut()
        time.sleep(self.random.uniform(0.5, 3.0))
        self.postgres.start()
        return "postgres"

    def _storage(self) -> str | None:
        """Put a file in the place of the images, which stops root too. The folder comes back before the next fault."""
        self.farm.break_storage()
        time.sleep(self.random.uniform(1.0, 5.0))
        self.farm.mend_storage()
        return "images"

    def _name_clash(self) -> str | None:
        """Start a second worker of a live one's name; it must end by itself with an error."""
        name = self._some_worker()
        if name is None or not self.farm.is_live(name):
            return None
        double = self.farm.double(name)
        double.start()
        try:
            if double.process is None or double.process.wait(CLASH_SECONDS) == 0:
                self.clashes_not_refused += 1
        except subprocess.TimeoutExpired:
            self.clashes_not_refused += 1
            double.kill()
        return name

    def _with_redis(self, fault: Callable[[Redis], None]) -> str | None:
        try:
            with Redis.from_url(self.farm.redis.url, socket_timeout=5) as redis:
                fault(redis)
        except RedisError:
            return None
        return "redis"

    def _send_junk(self, redis: Redis) -> None:
        """Push messages that are no hints to the hint queue and to the channel of remote commands."""
        for message in self.random.sample(list(junk_messages("no-such-job")), 40):
            redis.lpush("farm:render.demo", message)
            redis.publish("farm:/0.celery.pidbox", message)

    def _kill_clients(self, redis: Redis) -> None:
        for kind in ("normal", "pubsub"):
            redis.client_kill_filter(_type=kind, skipme=True)

    def _make_replica(self, redis: Redis) -> None:
        """Let the server refuse writes for a while, as a replica of a master that does not answer."""
        redis.replicaof("127.0.0.1", "1")
        try:
            time.sleep(self.random.uniform(1.0, 4.0))
        finally:
            redis.replicaof("NO", "ONE")

    def _freeze_redis(self) -> str:
        self.farm.redis.send(signal.SIGSTOP)
        time.sleep(self.random.uniform(1.0, 6.0))
        self.farm.redis.send(signal.SIGCONT)
        return "redis"

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        def wait_and_act() -> None:
            time.sleep(seconds)
            action()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        self._helpers.append(thread)
