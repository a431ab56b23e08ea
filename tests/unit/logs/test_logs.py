"""Log lines are readable, parseable, name their job, and cannot be forged by user input."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress

import pytest

from core.errors import InvalidInput
from core.logs import configure_logging, log_context
from core.settings import Settings

LOG = logging.getLogger("worker.runner")


@pytest.fixture(autouse=True)
def restored_root_logger() -> Iterator[None]:
    """Restore the root logger, which `configure_logging` changes."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level


def configured(log_format: str, log_level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    settings = Settings(_env_file=None, log_format=log_format, log_level=log_level)
    configure_logging(settings, "worker", stream=stream)
    return stream


def test_text_has_process_message_fields_and_context() -> None:
    stream = configured("text")
    with log_context(job_id="j1", attempt=2, worker="gpu 0"):
        LOG.info("stored %s images", 3, extra={"seconds": 1.23456})
    line = stream.getvalue()
    assert line.endswith('INFO    worker     stored 3 images  seconds=1.235 job=j1 attempt=2 worker="gpu 0"\n')
    assert "\x1b" not in line


def test_json_has_message_fields_and_context() -> None:
    stream = configured("json")
    with log_context(job_id="j1"), log_context(attempt=1):
        LOG.warning("slow 猫", extra={"seconds": 1.5})
    entry = json.loads(stream.getvalue())
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "WARNING",
        "process": "worker",
        "pid": os.getpid(),
        "logger": "worker.runner",
        "message": "slow 猫",
        "seconds": 1.5,
        "job_id": "j1",
        "attempt": 1,
    }


def test_context_ends_with_its_block_and_stays_in_its_thread() -> None:
    stream = configured("json")
    with log_context(job_id="j1"):
        thread = threading.Thread(target=LOG.info, args=("elsewhere",))
        thread.start()
        thread.join()
    LOG.info("after")
    assert all("job_id" not in json.loads(line) for line in stream.getvalue().splitlines())


def test_errors_carry_their_traceback() -> None:
    for log_format in ("text", "json"):
        stream = configured(log_format)
        try:
            raise ValueError("no such thing")
        except ValueError:
            LOG.exception("failed")
        assert "ValueError: no such thing" in stream.getvalue()
        assert len(stream.getvalue().splitlines()) == (1 if log_format == "json" else 5)


def test_messages_cannot_forge_a_log_line() -> None:
    stream = configured("text")
    LOG.info("prompt: %s", "a\n2026-01-01 00:00:00.000 ERROR   api  forged\r\x1b[2J\u2028x", extra={"note": "b\nc"})
    first, second = stream.getvalue().split("\n")[:2]
    assert second.startswith("    2026-01-01")
    assert r"\r\x1b[2J\u2028x" in second
    assert second.endswith(r'note="b\nc"')
    assert first.endswith("prompt: a")


def test_the_level_applies_and_verbose_libraries_log_warnings_only() -> None:
    stream = configured("text", "warning")
    LOG.info("quiet")
    logging.getLogger("httpx").info("GET /")
    assert stream.getvalue() == ""
    stream = configured("text", "INFO")
    logging.getLogger("httpx").info("GET /")
    assert stream.getvalue() == ""


def test_an_unknown_level_names_the_setting() -> None:
    with pytest.raises(InvalidInput, match="IMAGEFARM_LOG_LEVEL is 'loud'"):
        configured("text", "loud")


def test_a_second_call_does_not_double_lines() -> None:
    configured("text")
    stream = configured("text")
    LOG.info("once")
    assert stream.getvalue().count("once") == 1


def test_warnings_become_log_lines() -> None:
    stream = configured("text")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging(Settings(_env_file=None), "worker", stream=stream)
        warnings.warn("deprecated", stacklevel=1)
    assert "deprecated" in stream.getvalue()


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_appear_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with open(slave, "w") as terminal, open(master, "rb", buffering=0) as screen:  # noqa: PTH123
        configure_logging(Settings(_env_file=None), "worker", stream=terminal)
        LOG.error("red")
        assert (b"\x1b[31m" in screen.read(4096)) is coloured


def test_a_full_disk_costs_lines_and_prints_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        configure_logging(Settings(_env_file=None), "worker", stream=full)
        for _ in range(5):
            LOG.error("lost")
        with suppress(OSError):
            full.flush()
        with suppress(OSError):
            full.close()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_without_a_character_gets_its_code() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    configure_logging(Settings(_env_file=None), "worker", stream=stream)
    LOG.error("waiting… 猫")
    assert raw.getvalue().endswith(b"waiting\\u2026 \\u732b\n")
