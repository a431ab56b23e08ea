"""`imagefarm batch` interrupted and resumed."""

from __future__ import annotations

import json
import signal
import uuid
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts
from cli.exit_codes import ExitCode
from core.imagefile import read_metadata
from imagefarm import ImageFarm
from imagefarm.job_file import state_path
from tests.integration.imagefarm.conftest import Cli, start_cli

ROWS = 12


def job_file(tmp_path: Path, word: str, rows: int, **more: object) -> Path:
    path = tmp_path / "jobs.jsonl"
    fields = {"size": "64x64", "steps": 8, **more}
    path.write_text("".join(json.dumps({"prompt": f"{word} {n}", **fields}) + "\n" for n in range(rows)))
    return path


def prompts_on_the_farm(farm: ImageFarm, word: str) -> Counter[str]:
    return Counter(str(job.input["prompt"]) for job in farm.jobs(query=word))


@pytest.mark.parametrize("signal_sent", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
def test_an_interrupted_run_resumes_and_renders_no_row_twice(
    running: FarmParts, farm: ImageFarm, cli: Cli, tmp_path: Path, signal_sent: signal.Signals
) -> None:
    for number in range(5):  # On a busy machine, a run may end before it is interrupted.
        word, folder = f"w{uuid.uuid4().hex}", f"out{number}"
        path = job_file(tmp_path, word, ROWS)
        words = ("batch", str(path), "--save", folder, "--in-flight", "6", "--json")
        first = start_cli(*words, url=running.url, cwd=tmp_path)
        assert first.stdout is not None
        rows = [json.loads(first.stdout.readline()) for _ in range(2)]
        first.send_signal(signal_sent)
        out, err = first.communicate(timeout=300)
        rows += [json.loads(line) for line in out.splitlines()]
        if len(rows) < ROWS:
            break
    assert len(rows) < ROWS, "the run ended before it was interrupted"
    assert first.returncode == (ExitCode.INTERRUPTED if signal_sent == signal.SIGINT else -signal_sent), err
    assert "Traceback" not in err
    assert {row["status"] for row in rows} == {"succeeded"}

    resumed = cli(*words)
    assert resumed.returncode == ExitCode.OK, resumed.stderr
    assert {json.loads(line)["line"] for line in resumed.stdout.splitlines()} == set(range(1, ROWS + 1))
    expected = {f"{word} {n}": 1 for n in range(ROWS)}
    assert prompts_on_the_farm(farm, word) == expected
    saved = [read_metadata(file.read_bytes()).imagefarm for file in (tmp_path / folder).glob("outputs_*.png")]
    assert Counter(written.prompt for written in saved if written) == expected


def test_a_failed_row_is_reported_and_retried_on_request(cli: Cli, farm: ImageFarm, tmp_path: Path) -> None:
    word = f"w{uuid.uuid4().hex}"
    path = job_file(tmp_path, word, 2)
    with path.open("a") as file:
        file.write(json.dumps({"prompt": word, "width": 511}) + "\n")
    done = cli("batch", str(path))
    assert done.returncode == ExitCode.FAILED
    assert "3 rows: 2 rendered, 1 failed" in done.stdout
    assert "line 3 refused: width: 511 is not a multiple" in done.stderr
    assert "images are noise" in done.stderr

    text = path.read_text().replace('"width": 511', '"width": 512')
    path.write_text(json.dumps({"prompt": f"{word} new", "steps": 1}) + "\n" + text)
    again = cli("batch", str(path), "--retry-failed", "--save", "out")
    assert again.returncode == ExitCode.OK
    assert "4 rows: 2 rendered, 2 were done before; 4 images saved" in again.stdout
    assert sum(prompts_on_the_farm(farm, word).values()) == 4


def test_canceled_rows_are_retried_only_on_request(running: FarmParts, cli: Cli, farm: ImageFarm, tmp_path: Path) -> None:
    word = f"w{uuid.uuid4().hex}"
    path = job_file(tmp_path, word, 1, steps=100)
    batch = start_cli("batch", str(path), url=running.url, cwd=tmp_path)
    while not (jobs := list(farm.jobs(query=word))):
        assert batch.poll() is None
    farm.cancel(jobs[0])
    assert batch.wait(300) == ExitCode.FAILED
    batch.communicate()
    assert "--retry-failed" in cli("batch", str(path)).stderr
    assert len(list(farm.jobs(query=word))) == 1
    assert cli("batch", str(path), "--retry-failed").returncode == ExitCode.OK
    assert [str(job.status) for job in farm.jobs(query=word)] == ["succeeded", "canceled"]


def test_nothing_is_submitted_when_a_row_is_invalid(cli: Cli, farm: ImageFarm, tmp_path: Path) -> None:
    word = f"w{uuid.uuid4().hex}"
    path = job_file(tmp_path, word, 2, widht=64)
    done = cli("batch", str(path))
    assert done.returncode == ExitCode.USAGE
    assert "line 1: widht" in done.stderr
    assert not prompts_on_the_farm(farm, word)
    assert not state_path(path).exists()
