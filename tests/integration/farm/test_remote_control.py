"""Nobody who can write to the broker can end or change a worker; what Flower asks for is answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from celery import Celery

from core.queue import celery_config, render_queue
from core.settings import Settings
from tests.integration.farm.conftest import StartFarm
from tests.servers.farm import clean_environment
from tests.servers.forked_parts import run_command

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("shutdown", {}),
    ("pool_shrink", {"n": 1}),
    ("pool_grow", {"n": 1}),
    ("pool_restart", {}),
    ("autoscale", {"max": 1, "min": 0}),
    ("rate_limit", {"task_name": "imagefarm.render", "rate_limit": "1/h"}),
    ("time_limit", {"task_name": "imagefarm.render", "hard": 0.1}),
    ("revoke", {"task_id": "x", "terminate": True}),
    ("terminate", {"signal": "KILL", "task_id": "x"}),
    ("disable_events", {}),
    ("memdump", {}),
    ("add_consumer", {"queue": "celery"}),
    ("cancel_consumer", {"queue": "celery"}),
]


def test_a_worker_answers_questions_and_refuses_commands(start_farm: StartFarm, tmp_path: Path) -> None:
    farm = start_farm(synthetic_step_seconds=0.01)
    app = Celery(set_as_current=False)
    app.conf.update(celery_config(Settings(_env_file=None, redis_url=farm.redis.url)))
    while not app.control.ping(timeout=1):
        pass  # the worker is still loading
    for command, arguments in REFUSED:
        (reply,) = app.control.broadcast(command, arguments=arguments, reply=True, timeout=60, limit=1)
        assert "error" in next(iter(reply.values())), command
    app.control.broadcast("shutdown")
    assert app.control.ping(timeout=60, limit=1), "the worker has ended"
    inspect = app.control.inspect(timeout=60, limit=1)
    for question in ("stats", "active_queues", "registered", "scheduled", "active", "reserved", "revoked", "conf"):
        assert getattr(inspect, question)() is not None, question
    ((queue,),) = inspect.active_queues().values()
    assert queue["name"] == render_queue("demo")
    app.close()
    # Named destinations end the wait at the last reply, not after the whole timeout.
    options = ("--timeout", "60", "--destination", "render@worker0")
    answer = celery_command(farm.redis.url, tmp_path, "inspect", "active_queues", "--json", *options)
    assert [queue["name"] for (queue,) in json.loads(answer).values()] == [render_queue("demo")]
    assert "pong" in celery_command(farm.redis.url, tmp_path, "inspect", "ping", *options)


def celery_command(redis_url: str, directory: Path, *words: str) -> str:
    """Return what Celery's own command prints, as docs/guides/operations.md calls it."""
    environment = clean_environment(IMAGEFARM_REDIS_URL=redis_url)
    done = run_command("-A", "imagefarm.celery", *words, environment=environment, cwd=directory, module="celery")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
