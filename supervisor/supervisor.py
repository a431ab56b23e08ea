"""Run one farm on one machine until a stop signal arrives: `imagefarm up`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from core.catalogue import resolve_auto, served_models
from core.catalogue.auto_check import ensure_auto_checked
from core.embedded_redis import url_for
from core.exposure import check_api_exposure, check_flower_exposure
from core.misspelt_settings import misspelt_settings
from core.permissions import keep_private
from core.queue import RedisKeys
from core.settings import Settings
from supervisor import data_dir, embedded_redis, plan
from supervisor.console import Console
from supervisor.database_check import check_and_migrate
from supervisor.demand import listen
from supervisor.events import ChildEnded, ChildFrozen, Events, StopRequested, Wanted
from supervisor.part_forks import PartForks, forking_parts
from supervisor.plan import Addresses
from supervisor.process_manager import ProcessManager
from supervisor.short_process import run_in_short_process
from supervisor.startup_checks import answers_ok, any_key_exists, check_ports_differ, take_port

TICK_SECONDS = 0.1
"""Interval between checks of a process that is not ready."""
REDIS_TICK_SECONDS = 0.02
"""The same for Redis, which takes less time to start, and without which nothing else does."""
IDLE_SECONDS = 3600.0
API_SECONDS = 15.0
"""How long the processes that no first job needs wait for the API, so as not to take processor time from its start."""


class Stopped(Exception):
    """A stop signal arrived."""


class Supervisor:
    """Runs a farm until a stop signal arrives. Raises FarmError when it cannot start."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._events = Events()
        self._ready: set[str] = set()

    def run(self) -> bool:
        """Run the farm. Returns False when a child had to be killed at the end."""
        with forking_parts() as forks:
            return self._run(forks)

    def _run(self, forks: PartForks | None) -> bool:
        settings = self._settings
        check_api_exposure(settings, has_keys=any_key_exists(settings))
        check_flower_exposure(settings)
        check_ports_differ(settings)
        served_models(settings)  # refuse an unknown model before anything starts
        closed = keep_private(settings)
        data_dir.prepare(settings.data_dir)
        with data_dir.lock(settings.data_dir) as lock, closing(self._console()) as console:
            for sentence in (*([closed] if closed else []), *misspelt_settings()):
                console.farm(sentence)
            processes = ProcessManager(console, self._events)
            with self._events.catching_signals():
                try:
                    with suppress(Stopped):
                        self._start_and_watch(console, processes, lock, forks)
                finally:
                    clean = processes.stop()
        return clean

    def _start_and_watch(
        self, console: Console, processes: ProcessManager, lock: data_dir.FarmLock, forks: PartForks | None
    ) -> None:
        addresses = self._addresses()
        url = self._settings.resolved_database_url
        if forks is None or not forks.prepare_database(url):
            run_in_short_process(lambda: check_and_migrate(url))
        if self._settings.workers:
            ensure_auto_checked(self._settings, console.farm)
        self._start_redis(console, processes, addresses)
        later = []
        for spec in plan.children(self._settings, addresses):
            if spec.on_demand:
                processes.stand_by(spec)
            elif spec.waits_for_api:
                later.append(spec)
            else:
                processes.start(spec, forks)
        listen(RedisKeys(self._settings.redis_prefix).wanted, addresses.redis_url, self._events.wanted)
        self._wait_ready(console, processes, {"api": f"{addresses.api}/healthz"}, API_SECONDS)
        for spec in later:
            processes.start(spec, forks)
        if forks is not None:
            forks.close()
        self._wait_ready(
            console, processes, {"api": f"{addresses.api}/healthz", "flower": f"{addresses.flower}/healthcheck"}
        )
        lock.note(api=addresses.api, flower=addresses.flower)
        console.plain(self._welcome(addresses))
        while True:
            self._handle_events(processes, IDLE_SECONDS)

    def _addresses(self) -> Addresses:
        settings = self._settings
        redis_url = settings.redis_url or self._embedded_redis_url()
        return Addresses(
            api_host=settings.host,
            api_port=take_port(settings.host, settings.port, "--port"),
            flower_host=settings.flower_host,
            flower_port=take_port(settings.flower_host, settings.flower_port, "--flower-port"),
            redis_url=redis_url,
        )

    def _embedded_redis_url(self) -> str:
        folder = self._settings.data_dir
        return url_for(embedded_redis.choose_port(folder), embedded_redis.choose_password(folder))

    def _start_redis(self, console: Console, processes: ProcessManager, addresses: Addresses) -> None:
        if self._settings.redis_url:
            try:
                embedded_redis.check_access(addresses.redis_url)
            except RedisError:
                where = embedded_redis.place_of(addresses.redis_url)
                console.farm(f"Redis at {where} does not answer yet; jobs wait until it does")
            return
        processes.start(embedded_redis.redis_child(self._settings.data_dir, urlsplit(addresses.redis_url).port or 0))
        while not embedded_redis.answers(addresses.redis_url):
            self._handle_events(processes, REDIS_TICK_SECONDS)

    def _wait_ready(
        self, console: Console, processes: ProcessManager, urls: Mapping[str, str], seconds: float = math.inf
    ) -> None:
        """Wait until all answer, at most `seconds`; those that were ready before do not wait again."""
        until = time.monotonic() + seconds
        while (waiting := [name for name in urls if name not in self._ready]) and time.monotonic() < until:
            self._handle_events(processes, TICK_SECONDS)
            for name in [name for name in waiting if answers_ok(urls[name])]:
                self._ready.add(name)
                console.farm(f"{name} is ready at {urls[name].rpartition('/')[0]}")

    def _handle_events(self, processes: ProcessManager, seconds: float) -> None:
        """Wait up to `seconds` for an event and handle it."""
        event = self._events.next(processes.seconds_until_due(seconds))
        match event:
            case StopRequested():
                raise Stopped
            case ChildEnded(child):
                processes.ended(child)
            case ChildFrozen(child):
                processes.frozen(child)
            case Wanted():
                processes.start_wanted()
            case None:
                processes.handle_due()

    def _welcome(self, addresses: Addresses) -> str:
        resolved = resolve_auto(self._settings)
        models = ", ".join(model.id for model in served_models(self._settings))
        note = f"\n  note          {resolved.explanation}" if resolved.explanation else ""
        outputs = f"  images        {self._settings.outputs_dir}\n" if self._settings.outputs_dir else ""
        return (
            "\nimagefarm is up. Ctrl-C stops it.\n"
            f"  page and API  {addresses.api}  (reference: {addresses.api}/docs)\n"
            f"  Flower        {addresses.flower}\n"
            f"{outputs}"
            f"  data, logs    {self._settings.data_dir}\n"
            f"  model         {models}{note}\n"
        )

    def _console(self) -> Console:
        return Console(self._settings.data_dir / "logs", json_lines=self._settings.log_format == "json")
