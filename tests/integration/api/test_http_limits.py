"""Heads that are too large or too slow, silent connections, and more connections than there is room for."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.http_limits import HttpLimits, connection_bound
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import serving

LIMITS = HttpLimits(head_seconds=120.0, connections=8)
IMPATIENT = HttpLimits(head_seconds=1.0, connections=8)
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, fresh_sqlite: str) -> str:
    """Use SQLite only: connections do not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def address(make_settings: SettingsMaker) -> Iterator[tuple[str, int]]:
    """Yield the address of a server with room for eight connections."""
    with serving(make_settings(host="127.0.0.1"), LIMITS) as url:
        parts = urlsplit(url)
        yield str(parts.hostname), int(parts.port or 0)


@pytest.fixture
def impatient(make_settings: SettingsMaker) -> Iterator[tuple[str, int]]:
    """Yield the address of a server with a short deadline."""
    with serving(make_settings(host="127.0.0.1"), IMPATIENT) as url:
        parts = urlsplit(url)
        yield str(parts.hostname), int(parts.port or 0)


def retried(attempt: Callable[[], bytes], start: bytes) -> None:
    """Try until the answer has this start: the deadline may pass before a busy machine has sent anything."""
    answers = []
    for _ in range(10):
        with suppress(OSError, httpx.RemoteProtocolError):
            answers.append(attempt())
            if answers[-1].startswith(start):
                return
    raise AssertionError(answers)


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=120)


def all_of(connection: socket.socket) -> bytes:
    """Return everything until the server closes."""
    found = b""
    while data := connection.recv(65536):
        found += data
    return found


def one_answer(connection: socket.socket) -> bytes:
    """Read one answer of a connection that stays open; return its head."""
    found = b""
    while b"\r\n\r\n" not in found:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(found)
        found += data
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head


def ask(address: tuple[str, int], request: bytes) -> bytes:
    with connect(address) as connection:
        connection.sendall(request)
        return all_of(connection)


@pytest.mark.parametrize(
    "request_head",
    [
        GET + b"X-Large: " + b"a" * 70_000 + b"\r\n\r\n",
        GET + b"X-Endless: " + b"a" * 90_000,
        GET + b"X" * 90_000,
        GET + b"".join(b"X-%d: 1\r\n" % number for number in range(100)) + b"\r\n",
        GET + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(80)) + b"\r\n",
        b"GET /healthz?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: " + b"a" * 90_000,
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 90_000,
    ],
    ids=[
        "one field",
        "endless value",
        "endless name",
        "many fields",
        "large fields",
        "target",
        "trailer",
        "chunk extension",
    ],
)
def test_large_heads_are_refused_and_the_connection_closes(address: tuple[str, int], request_head: bytes) -> None:
    answer = ask(address, request_head)
    if b"chunked" in request_head:  # an answer to the request itself may be on its way: then it is only cut off
        assert b" 202 " not in answer
    else:
        assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        assert b"connection: close" in answer
        assert b"65536 bytes and 100 fields" in answer


def test_large_head_after_an_answered_request_is_refused_too(address: tuple[str, int]) -> None:
    with connect(address) as connection:
        connection.sendall(GET + b"\r\n")
        assert one_answer(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(GET + b"X-Large: " + b"a" * 90_000)
        assert all_of(connection).startswith(b"HTTP/1.1 431")


def test_head_just_below_the_limits_is_answered(address: tuple[str, int]) -> None:
    fields = b"".join(b"X-%d: 1\r\n" % number for number in range(98))
    assert ask(address, GET + fields + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    large = b"X-Large: " + b"a" * 65_000 + b"\r\nConnection: close\r\n\r\n"
    assert ask(address, GET + large).startswith(b"HTTP/1.1 200")


def test_body_larger_than_a_head_is_not_taken_for_one(address: tuple[str, int]) -> None:
    body = b'{"prompt": "' + b"a" * 200_000 + b'"}'
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    answer = ask(address, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.startswith(b"HTTP/1.1 422")


def test_slow_head_ends_after_its_time(impatient: tuple[str, int]) -> None:
    retried(lambda: ask(impatient, GET), b"HTTP/1.1 408")


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_silent_connection_is_closed(impatient: tuple[str, int], sent: bytes) -> None:
    retried(lambda: ask(impatient, sent) or b"closed", b"closed")


def test_slow_head_of_a_kept_connection_ends_too(impatient: tuple[str, int]) -> None:
    def keep_and_stop() -> bytes:
        with connect(impatient) as connection:
            connection.sendall(GET + b"\r\n")
            assert one_answer(connection)
            connection.sendall(b"GET /heal")
            return all_of(connection)

    retried(keep_and_stop, b"HTTP/1.1 408")


def test_waiting_request_is_not_cut_by_the_deadline_of_heads(impatient: tuple[str, int]) -> None:
    url = f"http://{impatient[0]}:{impatient[1]}"

    def wait_for_a_job() -> bytes:
        job = httpx.post(f"{url}/v1/jobs", json={"prompt": "x", "model": "demo"}).json()
        return httpx.get(f"{url}/v1/jobs/{job['id']}?wait=2.5").json()["status"].encode()  # type: ignore[no-any-return]

    retried(wait_for_a_job, b"queued")


def test_longest_idle_connections_make_room(make_settings: SettingsMaker) -> None:
    with serving(make_settings(), HttpLimits(head_seconds=60.0, connections=8)) as url:
        parts = urlsplit(url)
        address = (str(parts.hostname), int(parts.port or 0))
        kept = [connect(address) for _ in range(30)]
        try:
            assert ask(address, GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
            with suppress(ConnectionResetError):
                assert kept[0].recv(10) == b"", "the connection that was idle for longest is still open"
            kept[-1].sendall(GET + b"Connection: close\r\n\r\n")
            assert all_of(kept[-1]).startswith(b"HTTP/1.1 200"), "the newest connection was closed in place of the oldest"
        finally:
            for connection in kept:
                connection.close()


def test_requests_in_progress_are_never_closed_for_room(address: tuple[str, int]) -> None:
    url = f"http://{address[0]}:{address[1]}"
    job = httpx.post(f"{url}/v1/jobs", json={"prompt": "x", "model": "demo"}).json()
    waiting = [connect(address) for _ in range(8)]
    try:
        for connection in waiting:
            connection.sendall(b"GET /v1/jobs/%s/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % job["id"].encode())
        for connection in waiting:
            read_until(connection, b"event: status")  # The server has the request.
        with connect(address) as probe:  # an idle one more than there is room for
            assert all_of(probe).startswith(b"HTTP/1.1 503")
        waiting[0].close()
        _until_answered(address)
        httpx.post(f"{url}/v1/jobs/{job['id']}/cancel")
        for connection in waiting[1:]:
            read_until(connection, b"event: end")
    finally:
        for connection in waiting:
            connection.close()


def read_until(connection: socket.socket, wanted: bytes) -> None:
    found = b""
    while wanted not in found:
        data = connection.recv(65536)
        assert data, found
        found += data


def _until_answered(address: tuple[str, int]) -> None:
    """Ask until the server has room: it needs a moment to notice that a client has gone."""
    answer = b""
    while not answer.startswith(b"HTTP/1.1 200"):
        with suppress(ConnectionError):
            answer = ask(address, GET + b"Connection: close\r\n\r\n")


def test_room_is_left_for_other_descriptors() -> None:
    assert connection_bound(1024) == 768
    assert connection_bound(100) == 50
    assert connection_bound(2**31) == 16_384


OUT_OF_DESCRIPTORS = """
import resource, sys, threading
from api.http_limits import HttpLimits
from core.settings import Settings
from core.logs import configure_logging
from api.server import make_server
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 90))
settings = Settings(_env_file=None, data_dir=sys.argv[1], redis_url=sys.argv[2], port=0)
configure_logging(settings, "api")
server = make_server(settings, HttpLimits(connections=1000 if len(sys.argv) > 3 else 0))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], server.connections.bound, flush=True)
class Telling(type(server)):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
server.__class__ = Telling
server.run()
"""


def test_running_out_of_descriptors_is_logged_and_survived(tmp_path: Path, redis_url: str) -> None:
    from db.migrate import upgrade

    upgrade(f"sqlite:///{tmp_path / 'imagefarm.db'}")
    command = [sys.executable, "-c", OUT_OF_DESCRIPTORS, str(tmp_path), redis_url, "unbounded"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kept: list[socket.socket] = []
    try:
        assert server.stdout is not None
        assert server.stderr is not None
        assert server.stdout.readline().split() == ["90", "1000"], "the soft limit was not raised"
        address = ("127.0.0.1", int(server.stdout.readline()))
        kept = [connect(address) for _ in range(120)]
        line = next(line for line in server.stderr if "descriptor" in line)
        assert "ulimit -n" in line
        while kept:
            kept.pop().close()
        _until_answered(address)
    finally:
        for connection in kept:
            connection.close()
        server.terminate()
        server.communicate(timeout=120)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 90
