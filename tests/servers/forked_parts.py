"""The farm's parts and the command line as forked processes; see tests.servers.forks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import psutil

from core.queue import UPSCALE
from tests.servers.forks import CLI_IMPORTS, ForkedProcess, ForkServer, connect_fork_server, fork_server

ENGINES_FD = 300
FORKING_WORKER = "tests.servers.forking_worker"
PART_IMPORTS = (*CLI_IMPORTS, "tests.servers.part_imports")


@cache
def part_server() -> ForkServer:
    """Return a fork server of its own, in which no test of an engine has torch imported."""
    return connect_fork_server("parts")


def fork_part(arguments: list[str], environment: dict[str, str], directory: Path, log: BinaryIO) -> ForkedProcess:
    """Start `imagefarm` with these arguments; see benchmarks.faults.parts.Launch.

    The engines of a worker with real pipelines or upscalers are forked too: they are no children of the worker. So is the
    first synthetic engine, which is one.
    """
    module, words = "cli", arguments
    with Path(os.devnull).open() as nothing:
        fds = {0: nothing.fileno(), 1: log.fileno(), 2: log.fileno()}
        if arguments[0] == "worker":
            module, words = FORKING_WORKER, ["-", *arguments]
            if _computes(environment):
                fds[ENGINES_FD], words[0] = fork_server().fileno(), str(ENGINES_FD)
        return part_server().start(
            module, *words, imports=PART_IMPORTS, environment=environment, directory=directory, fds=fds
        )


def _computes(environment: Mapping[str, str]) -> bool:
    """Return whether a worker's engine imports torch."""
    return environment.get("IMAGEFARM_RENDERER") == "diffusers" or environment.get("IMAGEFARM_MODEL") == UPSCALE


def forked_engine(log: Path) -> psutil.Process:
    """Return the last engine of the worker with this log; it is no child of the worker."""
    return psutil.Process(int(re.findall(r"forked engine (\d+)", log.read_text())[-1]))


class ForkedCommand:
    """A running command of the command line, or of another `module`.

    Has what callers use of `subprocess.Popen` with both outputs piped as text.
    """

    def __init__(self, *words: str, environment: Mapping[str, str], cwd: Path, module: str = "cli") -> None:
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        self.stdout, self.stderr = os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8")
        try:
            with Path(os.devnull).open() as nothing:
                fds = {0: nothing.fileno(), 1: their_out, 2: their_err}
                self._process = part_server().start(
                    module, *words, imports=PART_IMPORTS, environment=environment, directory=cwd, fds=fds
                )
        finally:
            os.close(their_out)
            os.close(their_err)
        self.poll, self.wait = self._process.poll, self._process.wait

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def communicate(self, timeout: float = 300.0) -> tuple[str, str]:
        """Read both outputs to their ends, wait for the process, and return them. Kills it after `timeout` seconds."""
        killer = threading.Timer(timeout, self._process.kill)
        killer.start()
        try:
            with self.stdout, self.stderr, ThreadPoolExecutor(1) as pool:
                errors = pool.submit(self.stderr.read)
                output = self.stdout.read()
            self.wait(timeout)
            return output, errors.result()
        finally:
            killer.cancel()


def run_command(
    *words: str, environment: Mapping[str, str], cwd: Path, timeout: float = 300.0, module: str = "cli"
) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line or of another module to its end, as `subprocess.run` with captured output would."""
    command = ForkedCommand(*words, environment=environment, cwd=cwd, module=module)
    out, err = command.communicate(timeout)
    return subprocess.CompletedProcess(words, command.wait(timeout), out, err)
