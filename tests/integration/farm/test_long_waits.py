"""A worker's channel waits long for a hint in one call, and still stops and changes its queues at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
from redis import Redis

from core.queue import broker_transport_options
from core.settings import Settings
from tests.servers.celery_loop import sleeping_loop
from worker.hints import transport
from worker.hints.pool import WakingPool

LONG_SECONDS = 25.0
broker: Any = kombu


@pytest.fixture(autouse=True)
def _long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "WAIT_SECONDS", LONG_SECONDS)


@contextmanager
def connected(url: str) -> Iterator[Any]:
    options = {**broker_transport_options(Settings(redis_url=url)), "ack_emulation": False}
    with broker.Connection(url, transport=f"{transport.__name__}:Transport", transport_options=options) as connection:
        yield connection


def consumer_that_waits(connection: Any, received: list[object]) -> Any:  # noqa: ANN401 -- kombu's own
    """Return a consumer of the queue `one`, for which the server holds a call back."""
    consumer: Any = broker.Consumer(
        connection.default_channel,
        [broker.Queue("one")],
        callbacks=[lambda body, _: received.append(body)],
        no_ack=True,
    )
    consumer.consume()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
    assert connection.default_channel._in_poll
    return consumer


def test_a_message_ends_the_wait(redis_url: str) -> None:
    received: list[object] = []
    with connected(redis_url) as connection, connected(redis_url) as other:
        consumer_that_waits(connection, received)
        other.SimpleQueue("one").put({"a": 1})
        connection.drain_events(timeout=LONG_SECONDS)
    assert received == [{"a": 1}]


def test_another_queue_needs_no_end_of_the_wait(redis_url: str) -> None:
    received: list[object] = []
    with connected(redis_url) as connection, connected(redis_url) as other:
        consumer = consumer_that_waits(connection, received)
        consumer.cancel_by_queue("one")
        consumer.add_queue(broker.Queue("two"))
        consumer.consume()
        other.SimpleQueue("two").put("of the new queue")
        connection.drain_events(timeout=LONG_SECONDS / 2)
    assert received == ["of the new queue"]


@pytest.fixture
def limited_url(redis_url: str) -> Iterator[str]:
    """Yield the URL for a user who may run no command that the server calls dangerous."""
    with Redis.from_url(redis_url) as redis:
        rules = ["on", ">secret", "~*", "&*", "+@all", "-@dangerous", "+info"]
        redis.execute_command("ACL SETUSER", "limited", *rules)
        yield f"redis://limited:secret@{urlsplit(redis_url).netloc.rpartition('@')[2]}/0"
        redis.execute_command("ACL DELUSER", "limited")


@pytest.mark.parametrize("user", ["redis_url", "limited_url"])
def test_a_close_waits_for_no_message(user: str, request: pytest.FixtureRequest) -> None:
    with connected(request.getfixturevalue(user)) as connection:
        consumer_that_waits(connection, [])
        started = time.monotonic()
        connection.default_channel.close()
    assert time.monotonic() - started < LONG_SECONDS * 0.6


def test_a_thread_that_has_become_free_wakes_the_loop() -> None:
    with sleeping_loop() as loop:
        pool = WakingPool(1)
        pool.register_with_event_loop(loop.hub)
        pool.on_apply(lambda *_, **__: loop.sleeps.wait(), (), {})
        loop.turn.result(timeout=8.0)
        pool.executor.shutdown()
