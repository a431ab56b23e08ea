"""The embedded Redis wants its password, takes no dangerous command, and starts again after damage to its log."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from core.embedded_redis import url_for
from core.settings import Settings
from supervisor import embedded_redis
from supervisor.console import Console
from supervisor.embedded_redis import RedisRefuses
from supervisor.events import ChildEnded, Events
from supervisor.process_manager import ProcessManager
from tests.servers.ports import free_port
from tests.servers.redis import RedisServer


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    data = tmp_path / "a b?c#d%41 é"
    (data / "redis").mkdir(parents=True)
    (data / "logs").mkdir()
    return data


@contextmanager
def started(data_dir: Path) -> Iterator[tuple[str, int]]:
    """Run the server under the supervisor's process manager until it answers; yield its URL and process id."""
    events, port, ends = Events(), free_port(), 0
    console = Console(data_dir / "logs")
    processes = ProcessManager(console, events)
    (data_dir / "redis" / "port").write_text(str(port))
    url = url_for(port, embedded_redis.choose_password(data_dir))
    processes.start(embedded_redis.redis_child(data_dir, port))
    try:
        while not embedded_redis.answers(url):
            match events.next(processes.seconds_until_due(0.05)):
                case ChildEnded(child):
                    processes.ended(child)
                    ends += 1
                    assert ends < 4, list(child.last_lines)
                case _:
                    processes.handle_due()
        yield url, port
    finally:
        processes.stop()
        console.close()


def test_only_the_password_opens_the_server_and_it_forbids_control(data_dir: Path) -> None:
    with started(data_dir) as (url, port):
        for other in (f"redis://127.0.0.1:{port}/0", f"redis://:guess@127.0.0.1:{port}/0"):
            with redis.Redis.from_url(other) as stranger, pytest.raises(redis.AuthenticationError):
                stranger.set("key", "value")
        with redis.Redis.from_url(url) as own:
            assert own.set("key", "value")
            for command in ("CONFIG SET maxmemory 1", "SHUTDOWN", "ACL LIST", "MODULE LIST", "REPLICAOF 127.0.0.1 1"):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    own.execute_command(*command.split())
        assert embedded_redis.url_of_running_farm(Settings(_env_file=None, data_dir=data_dir)) == url
        password = embedded_redis.choose_password(data_dir)
        shown = [part for process in psutil.process_iter() for part in _command_line(process)]
        assert not any(password in part for part in shown), "the password is on a command line"
        assert password not in (data_dir / "redis" / "access.conf").read_text()
    for name in ("password", "access.conf"):
        assert (data_dir / "redis" / name).stat().st_mode & 0o777 == 0o600


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("*.incr.aof", "zeros at the end"),
        ("*.incr.aof", "random bytes"),
        ("*.base.rdb", "random bytes"),
        ("*.manifest", "random bytes"),
        ("*.base.rdb", "missing"),
    ],
)
def test_a_damaged_log_is_set_aside(data_dir: Path, file: str, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    with started(data_dir) as (url, _), redis.Redis.from_url(url) as client:
        client.set("key", "value")
    (path,) = (data_dir / "redis" / "appendonlydir").glob(file)
    match damage:
        case "zeros at the end":
            with path.open("ab") as stream:
                stream.write(bytes(4096))
        case "random bytes":
            path.write_bytes(bytes((index * 37 + 11) % 256 for index in range(4096)))
        case _:
            path.unlink()
    capsys.readouterr()
    with started(data_dir) as (url, _), redis.Redis.from_url(url) as client:
        assert client.get("key") is None
    lines = [line for line in capsys.readouterr().out.splitlines() if "the log of Redis was damaged" in line]
    (aside,) = (data_dir / "redis").glob("appendonlydir.damaged-*")
    assert len(lines) == 1 and str(aside) in lines[0]
    assert aside.is_dir()


def test_a_whole_log_is_kept(data_dir: Path) -> None:
    with started(data_dir) as (url, _), redis.Redis.from_url(url) as client:
        client.set("key", "value")
    with started(data_dir) as (url, _), redis.Redis.from_url(url) as client:
        assert client.get("key") == b"value"
    assert not list((data_dir / "redis").glob("*damaged*"))


def test_a_full_disk_or_a_crash_while_serving_is_no_damage(data_dir: Path) -> None:
    (data_dir / "redis" / "appendonlydir").mkdir()
    serving = ["1:M 28 Nov 2026 20:21:04.333 * Ready to accept connections tcp", "=== VALKEY BUG REPORT START"]
    full = ["1:M 28 Nov 2026 20:21:04.333 # Unrecoverable error reading the append only file: No space left on device"]
    assert embedded_redis.set_damaged_log_aside(data_dir, serving) is None
    assert embedded_redis.set_damaged_log_aside(data_dir, full) is None


def test_a_refusal_says_what_to_write_and_not_the_password(tmp_path: Path) -> None:
    with RedisWithPassword(tmp_path / "redis") as server:
        for url, sentence in (
            (f"redis://127.0.0.1:{server.port}/0", "wants a password"),
            (f"redis://:guess123@127.0.0.1:{server.port}/0", "refuses the password"),
            (f"redis://:right@127.0.0.1:{server.port}/99", "no database of the number"),
        ):
            with pytest.raises(RedisRefuses, match=sentence) as caught:
                embedded_redis.check_access(url)
            assert "guess123" not in str(caught.value)
        assert embedded_redis.problem_with(f"redis://:right@127.0.0.1:{server.port}/0") is None


class RedisWithPassword(RedisServer):
    def __enter__(self) -> RedisWithPassword:
        self.directory.mkdir(parents=True)
        command = embedded_redis.redis_command(embedded_redis.find_redis_binary(), self.directory, self.port)
        self._process = subprocess.Popen([*command, "--requirepass", "right"], stdout=subprocess.DEVNULL)
        while embedded_redis.problem_with(f"redis://:right@127.0.0.1:{self.port}/0"):
            assert self._process.poll() is None
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
