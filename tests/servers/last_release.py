"""The code of the last release, for tests that run it beside this one."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.servers.farm import ROOT

COMMIT, SCHEMA = "299e81e8f9d15aa91b2ceec5ed2f48fdaf447c3d", "0010"
"""What this version is upgraded from, and its newest migration. After a release, name that release here."""
_FOLDERS = ("api", "app", "cli", "core", "db", "imagefarm", "migrations", "supervisor", "web", "worker")


def unpack_last_release(directory: Path) -> Path:
    """Write its code into a folder and return that; skip the test, with the reason, where the history is not there."""
    command = ["git", "-C", str(ROOT), "archive", COMMIT, *_FOLDERS]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        pytest.skip(f"the last release ({COMMIT}) is not in this checkout's history: {said.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def spawn_last_release(
    arguments: list[str], environment: dict[str, str], directory: Path, log: BinaryIO
) -> subprocess.Popen[bytes]:
    """Start its `imagefarm` like benchmarks.faults.parts.spawn; `directory` holds its code in `release`."""
    code = directory / "release"
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        cwd=code,
        env={**environment, "PYTHONPATH": str(code)},
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
    )
