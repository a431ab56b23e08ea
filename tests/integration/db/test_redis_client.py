"""Commands whose answers are read later: the sender notices a server that has gone, and waits for none that is frozen."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from db.redis_client import CommandSender, connect
from tests.servers.redis import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.send(signal.SIGCONT)
    server.stop()


@pytest.fixture
def sender(server: RedisServer) -> Iterator[CommandSender]:
    client = connect(server.url, socket_timeout=1.0, socket_connect_timeout=1.0)
    sender = CommandSender(client)
    yield sender
    sender.close()
    client.close()


def push(sender: CommandSender, *values: str) -> None:
    sender.run([("LPUSH", "list", value) for value in values])


def values(server: RedisServer) -> list[str]:
    client = connect(server.url, decode_responses=True)
    found: list[str] = client.lrange("list", 0, -1)  # type: ignore[assignment]  # not awaited: the client is synchronous
    client.close()
    return found


def test_it_connects_again_once_the_server_has_ended_the_connection(server: RedisServer, sender: CommandSender) -> None:
    connected = [sender.is_connected]
    push(sender, "a", "b")
    connected.append(sender.is_connected)
    server.kill()
    server.start()
    connected.append(sender.is_connected)
    push(sender, "c")
    assert values(server) == ["c", "b", "a"]
    assert connected == [False, True, False]


def test_sending_to_a_frozen_server_waits_for_no_answer_and_reading_it_is_a_timeout(
    server: RedisServer, sender: CommandSender
) -> None:
    push(sender, "a")
    server.send(signal.SIGSTOP)
    sender.send([("LPUSH", "list", "b")])  # Waiting for the answer would raise here.
    with pytest.raises(RedisTimeout):
        sender.read_answers()
    assert not sender.is_connected  # The answer that comes late is that of no other command.


def test_a_refused_command_is_an_error_and_the_next_one_gets_its_own_answers(
    server: RedisServer, sender: CommandSender
) -> None:
    sender.connect()
    sender.send([("SET", "list", "no list"), ("LPUSH", "list", "a"), ("LPUSH", "other", "b")])
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        sender.read_answers()
    sender.connect()
    sender.send([("DEL", "list")])
    sender.read_answers()
    push(sender, "c")
    assert values(server) == ["c"]


def test_a_server_that_is_away_is_an_error(server: RedisServer, sender: CommandSender) -> None:
    server.stop()
    with pytest.raises((RedisError, OSError)):
        push(sender, "a")


def test_sending_never_connects(server: RedisServer, sender: CommandSender, monkeypatch: pytest.MonkeyPatch) -> None:
    push(sender, "a")
    server.stop()
    connects: list[str] = []
    monkeypatch.setattr(sender._connection, "connect", lambda: connects.append("connect"))
    with pytest.raises((RedisError, OSError)):
        sender.send([("LPUSH", "list", "b")])
        sender.read_answers()
    assert connects == []


def test_it_needs_nothing_that_the_oldest_supported_redis_py_lacks(sender: CommandSender) -> None:
    """Connections of redis-py 6 and 7 do not tell whether they are connected."""
    plain = type(sender._connection)
    hidden = property(lambda _: (_ for _ in ()).throw(AttributeError("is_connected")))
    sender._connection.__class__ = type(plain.__name__, (plain,), {"is_connected": hidden})
    assert not sender.is_connected
    push(sender, "a")
    assert sender.is_connected
