"""Restrict what a message on the broker can make a worker do: answer questions, never end or change it.

Celery lets every client of the broker end a worker, change its pool or stop its tasks. A worker of a farm is ended by
its signals and its jobs by the database, so only the commands that Flower's pages ask with remain, and two that the worker
sends to itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from celery.worker.control import Panel

READ_ONLY = frozenset(
    {
        *("ping", "stats", "conf", "registered", "active_queues", "clock", "report"),
        *("active", "reserved", "scheduled", "revoked", "query_task"),
        *("heartbeat", "enable_events"),
    }
)
"""`enable_events` only turns on what is on already: another Flower than the farm's own sends it regularly."""
_OWN_QUEUE = frozenset({"add_consumer", "cancel_consumer"})
_LISTS = frozenset({"active", "reserved", "scheduled"})

Command = Callable[..., Any]
logger = logging.getLogger(__name__)


def restrict_remote_control(own_queues: Collection[str], models: Callable[[], str]) -> None:
    """Refuse every command that could end or change this worker; call before Celery's worker starts.

    Subscribing to `own_queues` and unsubscribing remain for `worker.hints.queue_subscription`, which repairs within seconds
    what another sender of these changes. `models` describes the models of this worker, for Flower's page of it.
    """
    for name in [name for name in Panel.data if name not in READ_ONLY | _OWN_QUEUE]:
        Panel.data[name] = _refusing(name)
    for name in _OWN_QUEUE:
        Panel.data[name] = _only_for(own_queues, Panel.data[name])
    for name in _LISTS:
        Panel.data[name] = _without_arguments(Panel.data[name])
    Panel.data["stats"] = _with_models(Panel.data["stats"], models)
    Panel.data["query_task"] = _query_without_arguments(Panel.data["query_task"])


def _refusing(name: str) -> Command:
    def refuse(_state: object, **_: object) -> dict[str, str]:
        logger.warning("refused the remote command %s: send the worker SIGTERM to stop it", name)
        return {"error": f"the command {name} is not available on a farm's workers"}

    return refuse


def _with_models(command: Command, models: Callable[[], str]) -> Command:
    def stats(state: Any, **_: object) -> dict[str, Any]:  # noqa: ANN401 -- Celery's own state
        return {**command(state), "models": models()}

    return stats


def _only_for(own_queues: Collection[str], command: Command) -> Command:
    def checked(state: Any, queue: str = "", **_: object) -> Any:  # noqa: ANN401 -- Celery's own state and reply
        if queue not in own_queues:
            return {"error": "this worker consumes from the queues of its models only"}
        return command(state, queue=queue)

    return checked


def _without_arguments(command: Command) -> Command:
    """Leave the hints' arguments out of a list: they hold prompts, and seldom those of the jobs that run."""

    def stripped(state: Any, **_: object) -> Any:  # noqa: ANN401
        return [_strip(request) for request in command(state)]

    return stripped


def _query_without_arguments(command: Command) -> Command:
    def stripped(state: Any, ids: Any = (), **_: object) -> Any:  # noqa: ANN401
        return {task_id: (kind, _strip(request)) for task_id, (kind, request) in command(state, ids).items()}

    return stripped


def _strip(request: dict[str, Any]) -> dict[str, Any]:
    inner = request.get("request")
    if isinstance(inner, dict):
        return request | {"request": _strip(inner)}
    return request | {"args": [], "kwargs": {}}
