"""One farm of real processes with the synthetic renderer, shared by all tests here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts
from imagefarm import ImageFarm
from tests.conftest import Migrate
from tests.integration.farm.conftest import sqlite_farm
from tests.servers.farm import clean_environment
from tests.servers.forked_parts import ForkedCommand, run_command

STEP_SECONDS = 0.2
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    """Run API, reaper, one worker and one upscaling worker."""
    directory = tmp_path_factory.mktemp("client")
    with sqlite_farm(directory, migrate, upscalers=1, synthetic_step_seconds=STEP_SECONDS) as parts:
        yield parts


@pytest.fixture
def farm(running: FarmParts) -> Iterator[ImageFarm]:
    """Return a client of the farm."""
    with ImageFarm(running.url, "") as client:
        yield client


def start_cli(*words: str, url: str, cwd: Path, **environment: str) -> ForkedCommand:
    """Start a command with both outputs piped."""
    return ForkedCommand(*words, environment=clean_environment(IMAGEFARM_URL=url, **environment), cwd=cwd)


@pytest.fixture
def cli(running: FarmParts, tmp_path: Path) -> Cli:
    """Return a function that runs a command to its end in the test's directory."""

    def run(*words: str, url: str = running.url) -> subprocess.CompletedProcess[str]:
        done = run_command(*words, environment=clean_environment(IMAGEFARM_URL=url), cwd=tmp_path)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run
