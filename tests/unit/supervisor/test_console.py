"""The log stream: prefixes, files, JSON, and a closed terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from supervisor import console as module
from supervisor.console import Console


def test_lines_have_the_process_name_and_reach_its_file(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path, stream)
    console.line("api", "hello")
    console.farm("starting")
    console.file_only("redis", "noise")
    console.close()
    assert stream.getvalue().startswith("api      | hello\nfarm     | ")
    assert "noise" not in stream.getvalue()
    assert (tmp_path / "api.log").read_text() == "hello\n"
    assert (tmp_path / "redis.log").read_text() == "noise\n"


def test_json_lines_keep_objects_and_wrap_other_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path, stream, json_lines=True)
    console.line("api", '{"level": "INFO"}')
    console.line("api", "plain text")
    console.plain("two\nlines")
    console.close()
    objects = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert objects[0] == {"level": "INFO"}
    assert [(each["service"], each["message"]) for each in objects[1:]] == [
        ("api", "plain text"),
        ("farm", "two"),
        ("farm", "lines"),
    ]


def test_a_closed_terminal_does_not_stop_the_files(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path, stream)
    stream.close()
    console.line("api", "still here")
    console.close()
    assert (tmp_path / "api.log").read_text() == "still here\n"


def test_files_rotate(tmp_path: Path) -> None:
    console = Console(tmp_path, io.StringIO())
    block = "x" * 2**20
    for _ in range(module.FILE_BYTES // len(block) + 1):
        console.file_only("api", block)
    console.close()
    assert (tmp_path / "api.log.1").exists()
    assert (tmp_path / "api.log").stat().st_size < module.FILE_BYTES


def test_a_full_disk_gives_one_line_and_the_file_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    console = Console(tmp_path, stream)
    console.line("api", "before")
    file = tmp_path / "api.log"
    file.rename(tmp_path / "kept.log")
    console.close()
    file.symlink_to("/dev/full")
    for number in range(20):
        console.line("api", f"lost {number}")
    file.unlink()
    console.line("api", "after")
    console.close()
    shown = stream.getvalue().splitlines()
    assert len([line for line in shown if "api.log cannot be written (No space left on device)" in line]) == 1
    assert len([line for line in shown if "api.log is written again" in line]) == 1
    assert len([line for line in shown if "| lost" in line]) == 20, "the terminal still gets every line"
    assert file.read_text() == "after\n"
    assert capsys.readouterr() == ("", ""), "the logger printed a traceback"
