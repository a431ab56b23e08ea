"""`imagefarm up`: one farm on one machine, from the empty directory to the last child's end."""

from __future__ import annotations

from contextlib import closing, suppress
from urllib.parse import urlsplit

from core.catalogue import resolve_auto
from core.exposure import check_api_exposure, check_flower_exposure
from core.settings import Settings
from db import migrate
from supervisor import data_dir, embedded_redis, plan
from supervisor.console import Console
from supervisor.crew import Crew
from supervisor.events import ChildEnded, Events, StopRequested
from supervisor.keys import any_key_exists
from supervisor.plan import Addresses
from supervisor.ports import take_port
from supervisor.readiness import answers_ok

TICK_SECONDS = 0.1
"""How often an unready part is asked again."""
IDLE_SECONDS = 3600.0


class Stopped(Exception):
    """The user asked to stop."""


class Farm:
    """Runs until told to stop; errors that keep it from starting are FarmErrors for the caller to show."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._events = Events()

    def run(self) -> bool:
        """True when every child ended by itself, False when some had to be killed."""
        settings = self._settings
        check_api_exposure(settings, has_keys=any_key_exists(settings))
        check_flower_exposure(settings)
        resolve_auto(settings)  # an unknown model is refused before anything starts
        data_dir.prepare(settings.data_dir)
        with data_dir.lock(settings.data_dir) as lock, closing(self._console()) as console:
            crew = Crew(console, self._events)
            with self._events.catching_signals():
                try:
                    with suppress(Stopped):
                        self._start_and_watch(console, crew, lock)
                finally:
                    clean = crew.stop()
        return clean

    def _start_and_watch(self, console: Console, crew: Crew, lock: data_dir.FarmLock) -> None:
        addresses = self._addresses()
        self._start_redis(console, crew, addresses)
        migrate.upgrade(self._settings.resolved_database_url)
        for spec in plan.children(self._settings, addresses):
            crew.start(spec)
        self._wait_ready(console, crew, addresses)
        lock.note(api=addresses.api, flower=addresses.flower)
        console.plain(self._welcome(addresses))
        while True:
            self._pass_time(crew, IDLE_SECONDS)

    def _addresses(self) -> Addresses:
        settings = self._settings
        redis_url = settings.redis_url or embedded_redis.url_for(embedded_redis.choose_port(settings.data_dir))
        return Addresses(
            api_host=settings.host,
            api_port=take_port(settings.host, settings.port, "--port"),
            flower_host=settings.flower_host,
            flower_port=take_port(settings.flower_host, settings.flower_port, "--flower-port"),
            redis_url=redis_url,
        )

    def _start_redis(self, console: Console, crew: Crew, addresses: Addresses) -> None:
        if self._settings.redis_url:
            if not embedded_redis.answers(addresses.redis_url):
                where = urlsplit(addresses.redis_url)
                console.farm(f"Redis at {where.hostname}:{where.port} does not answer yet: jobs wait until it does")
            return
        crew.start(embedded_redis.redis_child(self._settings.data_dir, urlsplit(addresses.redis_url).port or 0))
        while not embedded_redis.answers(addresses.redis_url):
            self._pass_time(crew, TICK_SECONDS)

    def _wait_ready(self, console: Console, crew: Crew, addresses: Addresses) -> None:
        waiting = {"api": f"{addresses.api}/healthz", "flower": f"{addresses.flower}/healthcheck"}
        while waiting:
            self._pass_time(crew, TICK_SECONDS)
            for name in [name for name, url in waiting.items() if answers_ok(url)]:
                del waiting[name]
                console.farm(f"{name} is ready")

    def _pass_time(self, crew: Crew, seconds: float) -> None:
        """Let `seconds` pass, or less when something happened, and see to what happened."""
        event = self._events.next(crew.seconds_until_due(seconds))
        match event:
            case StopRequested():
                raise Stopped
            case ChildEnded(child):
                crew.ended(child)
            case None:
                crew.start_due()

    def _welcome(self, addresses: Addresses) -> str:
        resolved = resolve_auto(self._settings)
        note = f"\n  note          {resolved.explanation}" if resolved.explanation else ""
        return (
            "\nimagefarm is up. Ctrl-C stops it.\n"
            f"  page and API  {addresses.api}  (reference: {addresses.api}/docs)\n"
            f"  Flower        {addresses.flower}\n"
            f"  data, logs    {self._settings.data_dir}\n"
            f"  model         {resolved.model.id}{note}\n"
        )

    def _console(self) -> Console:
        return Console(self._settings.data_dir / "logs", json_lines=self._settings.log_format == "json")
