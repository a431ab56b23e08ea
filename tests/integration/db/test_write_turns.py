"""Processes that write one SQLite file take turns; frozen and killed ones hold nobody up for long."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from core.errors import Unavailable
from db import write_turns
from db.database import Database
from db.write_turns import WriteTurns
from tests.servers.farm import clean_environment

HOLDER = """
import sys
from pathlib import Path
from db.write_turns import WriteTurns

with WriteTurns(Path(sys.argv[1])).turn():
    print("writing", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "farm.db-turns"


@pytest.fixture
def holder(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield another process that writes until it gets a line."""
    command = [sys.executable, "-c", HOLDER, str(file)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=clean_environment(), **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        yield process
        with suppress(ProcessLookupError):
            process.kill()


def test_a_writer_waits_until_the_other_process_has_written(
    file: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_turns, "GIVE_UP_SECONDS", 60.0)
    turns, entered = WriteTurns(file), threading.Event()

    def write() -> None:
        with turns.turn():
            entered.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert not entered.wait(0.2)
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert entered.wait(120)
    thread.join()
    turns.close()


def test_a_killed_writer_leaves_its_turn(file: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_turns, "GIVE_UP_SECONDS", 60.0)
    holder.kill()
    holder.wait(120)
    turns = WriteTurns(file)
    with turns.turn():
        assert turns.takes_turns
    turns.close()


def test_a_frozen_writer_delays_others_once(
    file: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_turns, "GIVE_UP_SECONDS", 0.05)
    holder.send_signal(signal.SIGSTOP)
    turns = WriteTurns(file)
    with turns.turn():
        assert not turns.takes_turns
    monkeypatch.setattr(write_turns, "GIVE_UP_SECONDS", 60.0)
    started = time.monotonic()
    for _ in range(10):
        with turns.turn():
            pass
    assert time.monotonic() - started < 50
    turns.close()


def test_without_the_file_only_threads_take_turns(tmp_path: Path) -> None:
    turns = WriteTurns(tmp_path / "no such folder" / "turns")
    with turns.turn():
        pass
    turns.close()


def test_one_long_wait_for_the_lock_shortens_those_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each of them keeps a thread for as long, one behind the other, until no thread is left for readers."""
    monkeypatch.setattr(write_turns, "WAIT_SECONDS", 2.0)
    monkeypatch.setattr(write_turns, "LOCKED_WAIT_SECONDS", 0.01)
    database = Database(f"sqlite:///{tmp_path / 'farm.db'}")
    waits: list[int] = []

    def write() -> None:
        with database.write() as session:
            waits.append(session.scalar(text("PRAGMA busy_timeout")) or 0)

    write()
    with sqlite3.connect(tmp_path / "farm.db", isolation_level=None) as frozen:
        frozen.execute("BEGIN IMMEDIATE")
        for seconds in (2.0, 0.01, 0.01):
            started = time.monotonic()
            with pytest.raises(Unavailable, match="database is locked"):
                write()
            assert time.monotonic() - started >= seconds
        frozen.execute("ROLLBACK")
    frozen.close()
    write()
    write()
    assert waits == [2000, 10, 2000]
    database.dispose()


def test_threads_do_not_wait_for_each_other_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_turns, "WAIT_SECONDS", 0.01)
    turns = WriteTurns(None)

    def write() -> None:
        with turns.turn():
            pass

    with turns.turn(), pytest.raises(Unavailable, match="other writers wait"):
        write()
    write()
