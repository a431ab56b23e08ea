"""Celery's messages as it writes them to Redis, ready to be pushed: a hint, and the events that Flower reads.

Celery's own sender costs ten times what the message itself does, and takes a round trip for each. The formats are those of
Celery's protocol 2 and kombu's Redis transport; tests compare them with messages that Celery has sent.
"""

from __future__ import annotations

import os
import socket
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from core.json_text import dump_json
from core.queue import RENDER_TASK, render_queue

_EXCHANGE, _TOPIC = "celeryev", "task.multi"


def hint_message(job_id: str, model: str, shown: Mapping[str, Any], deferrals: int = 0) -> bytes:
    """Return an entry of the model's list in Redis. `shown`: the keyword arguments, see `core.queue.flower_kwargs`."""
    headers = {
        "lang": "py",
        "task": RENDER_TASK,
        "id": job_id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": job_id,
        "parent_id": None,
        "argsrepr": repr((job_id,)),
        "kwargsrepr": repr(dict(shown)),
        "origin": origin(),
        "ignore_result": True,
        "deferrals": deferrals,
    }
    body = [[job_id], dict(shown), {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    properties = {
        "correlation_id": job_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": render_queue(model)},
        "priority": 0,
    }
    return _envelope(body, headers, properties)


def event(kind: str, hostname: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 -- the fields of Celery's events
    """Return an event of the present moment. `kind`: `task-sent` and the like; `hostname`: who reports it."""
    offset = (time.altzone if time.localtime().tm_isdst else time.timezone) // 3600
    return {"type": kind, "hostname": hostname, "utcoffset": offset, "pid": os.getpid(), "timestamp": time.time(), **fields}


def sent_event(job_id: str, model: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event that Flower shows a waiting job by. Celery gives events of senders a clock on arrival."""
    return event(
        "task-sent",
        origin(),
        uuid=job_id,
        name=RENDER_TASK,
        args=repr((job_id,)),
        kwargs=repr(dict(shown)),
        root_id=job_id,
        parent_id=None,
        retries=0,
        eta=None,
        expires=None,
        queue=render_queue(model),
        exchange="",
        routing_key=render_queue(model),
    )


def events_message(events: Sequence[Mapping[str, Any]]) -> bytes:
    """Return one message with task events, in order, for the channel `events_channel`."""
    properties = {"delivery_mode": 1, "delivery_info": {"exchange": _EXCHANGE, "routing_key": _TOPIC}, "priority": 0}
    return _envelope(list(events), {"hostname": events[0]["hostname"]}, properties)


def events_channel(prefix: str, database: int) -> str:
    """Return the channel of task events. `prefix`: that of the farm's keys; `database`: the number of Redis's database."""
    return f"{prefix}/{database}.{_EXCHANGE}/{_TOPIC}"


def origin() -> str:
    """Return the name under which this process sends: no worker's, or Flower would list it as one."""
    return f"gen{os.getpid()}@{socket.gethostname()}"


def _envelope(body: Any, headers: Mapping[str, Any], properties: Mapping[str, Any]) -> bytes:  # noqa: ANN401 -- any JSON
    envelope = {
        "body": b64encode(dump_json(body)).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {**properties, "body_encoding": "base64", "delivery_tag": os.urandom(16).hex()},
    }
    return dump_json(envelope)
