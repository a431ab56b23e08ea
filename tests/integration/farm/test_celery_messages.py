"""Our ready-made messages have the form that Celery's own sender and event dispatcher give theirs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from core.celery_messages import events_channel, events_message, hint_message, sent_event
from core.queue import RENDER_TASK, celery_config, render_queue
from core.settings import Settings

SHOWN = {"prompt": "a red fox 狐", "model": "demo", "size": "64x64", "steps": 8, "seed": 7}
CHANGING = {"delivery_tag", "origin", "reply_to", "timestamp", "stamped_headers", "stamps", "clock"}
"""Fields that differ between any two messages, those of stamps, and a queue of replies, which has no use."""


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    app = Celery(set_as_current=False)
    app.conf.update(celery_config(Settings(_env_file=None, redis_url=redis_url)))
    yield app
    app.close()


def send(app: Celery) -> None:
    options = {"task_id": "job-1", "queue": render_queue("demo"), "headers": {"deferrals": 2}, "ignore_result": True}
    app.send_task(RENDER_TASK, args=("job-1",), kwargs=SHOWN, **options)


def parts(raw: bytes) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(raw)
    envelope["body"] = json.loads(base64.b64decode(envelope["body"]))
    for name in ("headers", "properties"):
        envelope[name] = {key: value for key, value in envelope[name].items() if key not in CHANGING}
    return envelope


def test_a_hint_is_what_celery_would_send(app: Celery, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        send(app)
        theirs = redis.rpop(f"farm:{render_queue('demo')}")
    assert isinstance(theirs, bytes)
    ours = parts(hint_message("job-1", "demo", SHOWN, deferrals=2))
    expected = parts(theirs)
    missing = expected["headers"].keys() - ours["headers"].keys()
    assert missing <= {"replaced_task_nesting"}, "a header that Celery sends is left out"
    expected["headers"] = {name: value for name, value in expected["headers"].items() if name not in missing}
    assert ours == expected


def test_the_event_of_a_hint_reaches_flowers_receiver_as_celerys_own_does(app: Celery, redis_url: str) -> None:
    received: list[dict[str, Any]] = []
    with (
        app.connection_for_read(transport_options=app.conf.broker_transport_options) as connection,
        Redis.from_url(redis_url) as redis,
    ):
        receiver = app.events.Receiver(connection, handlers={"task-sent": received.append})
        others = redis.pubsub_numpat()
        with receiver.consumer_context(wakeup=False) as (receiving, _, _):
            while redis.pubsub_numpat() <= others:
                drain(receiving)
            send(app)
            while len(received) < 1:
                drain(receiving)
            events = [sent_event("job-1", "demo", SHOWN), sent_event("job-2", "demo", SHOWN)]
            redis.publish(events_channel("farm:", 0), events_message(events))
            while len(received) < 3:
                drain(receiving)
    theirs, ours, second = ({name: each[name] for name in each.keys() - CHANGING} for each in received)
    assert second["uuid"] == "job-2"
    for event in (theirs, ours):
        assert event.pop("hostname").startswith("gen")
        assert event.pop("local_received")
    assert ours == theirs


def drain(connection: Any) -> None:  # noqa: ANN401 -- kombu's connection
    with suppress(TimeoutError):
        connection.drain_events(timeout=1)
