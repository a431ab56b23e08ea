"""Run the Flower process."""

from __future__ import annotations

import logging
import signal

from celery import Celery
from celery.events.state import Worker
from flower.options import options
from flower.urls import settings as handler_settings
from tornado.ioloop import IOLoop, PeriodicCallback

from core.collections_pause import collect_from_now
from core.exposure import check_flower_exposure
from core.logs import configure_logging
from core.queue import CELERY_HEARTBEAT_SECONDS, celery_config
from core.settings import Settings
from supervisor.flower import columns
from supervisor.flower.access import GuardedFlower, open_api_on_loopback
from supervisor.flower.farm_view import FarmView
from supervisor.flower.prompts import PromptFreeEvents, PromptGuard
from supervisor.flower.worker_list import WorkerList

MAX_TASKS = 10_000
"""Tasks that Flower keeps in memory; the history of all jobs is in the database."""
PURGE_OFFLINE_SECONDS = 3600
ONLINE_SECONDS = 20.0
"""How long a silent worker is shown as online, as by the farm itself. Celery takes 4 s, which a busy machine may be late.

A worker that stops says so, and is offline at once.
"""
QUEUES_SECONDS = 10.0
"""Interval at which the queues of the workers' models are read."""


def run(settings: Settings) -> int:
    """Serve until a stop signal arrives; return the exit status."""
    configure_logging(settings, "flower")
    for noisy in ("flower.inspector", "tornado.access"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # they warn while a farm has no workers yet
    check_flower_exposure(settings)
    open_api_on_loopback(settings)
    _set_options(settings)
    broker = Celery("imagefarm", set_as_current=False)
    broker.conf.update(celery_config(settings))
    loop = IOLoop.current()
    events = _events(settings, broker, loop)
    flower = GuardedFlower(events.check, capp=broker, options=options, events=events, io_loop=loop, **handler_settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.add_callback_from_signal(flower.stop))
    WorkerList(flower).start()
    collect_from_now()
    flower.start_http_server()
    flower.start()
    return 0


def _events(settings: Settings, broker: Celery, loop: IOLoop) -> PromptFreeEvents:
    guard = PromptGuard(settings)
    guard.look()
    view = FarmView(settings)
    view.look()
    view.show_queues()
    PeriodicCallback(lambda: loop.run_in_executor(None, view.look), QUEUES_SECONDS * 1000).start()
    return PromptFreeEvents(
        guard,
        view.past_events(),
        capp=broker,
        io_loop=loop,
        enable_events=options.enable_events,
        max_workers_in_memory=options.max_workers,
        max_tasks_in_memory=options.max_tasks,
    )


def _set_options(settings: Settings) -> None:
    """Set Flower's options, which are one global object, and those of Celery's memory of workers."""
    options.address = settings.flower_host
    options.port = settings.flower_port
    options.format_task = columns.format_task
    options.tasks_columns = columns.install()
    options.max_tasks = MAX_TASKS
    options.purge_offline_workers = PURGE_OFFLINE_SECONDS
    options.read_only = True
    options.enable_events = False  # workers of a farm always send events; the command would wake them every five seconds
    Worker.expire_window = 100 * ONLINE_SECONDS / CELERY_HEARTBEAT_SECONDS  # percent of the interval of its heartbeats
    password = settings.flower_basic_auth.get_secret_value()
    if password:
        options.basic_auth = [password]
