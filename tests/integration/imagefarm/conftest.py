"""One farm of real processes with the synthetic renderer, shared by all tests here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts
from db.migrate import upgrade
from imagefarm import ImageFarm
from tests.servers.farm import clean_environment
from tests.servers.redis import RedisServer

STEP_SECONDS = 0.05
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmParts]:
    """Run API, reaper, one worker and one upscaling worker."""
    directory = tmp_path_factory.mktemp("client")
    url = f"sqlite:///{directory / 'farm.db'}"
    upgrade(url)
    redis = RedisServer(directory / "redis").start()
    settings = {"IMAGEFARM_SYNTHETIC_STEP_SECONDS": str(STEP_SECONDS)}
    parts = FarmParts(directory / "farm", url, redis, 1, settings, upscalers=1)
    try:
        yield parts.start()
    finally:
        parts.destroy()
        redis.stop()


@pytest.fixture
def farm(running: FarmParts) -> Iterator[ImageFarm]:
    """Return a client of the farm."""
    with ImageFarm(running.url, "") as client:
        yield client


def start_cli(*words: str, url: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a command with both outputs piped."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *words],
        cwd=cwd,
        env=clean_environment(IMAGEFARM_URL=url, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def cli(running: FarmParts, tmp_path: Path) -> Cli:
    """Return a function that runs a command to its end in the test's directory."""

    def run(*words: str, url: str = running.url) -> subprocess.CompletedProcess[str]:
        process = start_cli(*words, url=url, cwd=tmp_path)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return run
