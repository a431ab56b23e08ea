"""Inject random faults into a farm, reproducible by seed."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

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
}
"""Relative frequency of each fault."""


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
    _redis_lock: threading.Lock = field(default_factory=threading.Lock)

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
        }
        while len(self.kills) < self.count:
            time.sleep(self.pause_seconds * self.random.uniform(0.5, 1.5))
            name = self.random.choices(names, weights)[0]
            at = time.time()
            if (part := faults[name]()) is not None:
                self.kills.append(Kill(name, part, at))
        for helper in self._helpers:
            helper.join()
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

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        def wait_and_act() -> None:
            time.sleep(seconds)
            action()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        self._helpers.append(thread)
