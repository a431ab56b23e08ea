"""The child process of one operation: its progress, its outcome, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from core.child_python import child_environment, module_command
from core.settings import Settings
from db.model_operations import Report

MODULE = "worker.models.operation_process"
STOP_SECONDS = 4.0
"""Time to delete drafts after SIGTERM before the process is killed."""


@dataclass(frozen=True)
class Outcome:
    """The child's last word: a result, or an error's code and message."""

    result: dict[str, Any] = field(default_factory=dict)
    error_code: str = ""
    message: str = ""


class OperationChild:
    """A started operation. Its error output goes to this process's."""

    def __init__(self, settings: Settings, kind: str, model: str) -> None:
        self.progress: Report | None = None
        self._outcome: Outcome | None = None
        self._has_ended = False
        self._changed = threading.Event()
        self._process = subprocess.Popen(
            module_command(MODULE, kind, model),
            env=child_environment() | _environment(settings),
            stdin=subprocess.PIPE,  # Closes when this process ends, however that is: the child ends then.
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name=f"operation-{self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, seconds: float) -> Outcome | None:
        """Wait for the end or a `wake`; return the outcome of a process that has ended."""
        self._changed.wait(seconds)
        return (self._outcome or self._unexplained_end()) if self._has_ended else None

    def wake(self) -> None:
        """End the present and every later `wait` at once."""
        self._changed.set()

    def stop(self) -> None:
        """End the process; a partial download stays and can be resumed."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.close()

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        self._process.wait()
        self._reader.join(STOP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()

    def _unexplained_end(self) -> Outcome:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        memory = " It may have run out of memory." if code == -signal.SIGKILL else ""
        return Outcome(
            error_code="operation_crashed",
            message=f"The process of this operation {how}; the log of the reaper or the model manager has more.{memory}",
        )

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 -- a pipe was asked for
        with suppress(OSError, ValueError):
            for line in self._process.stdout:
                with suppress(ValueError, KeyError, TypeError):  # A library may print lines of its own.
                    self._take(json.loads(line))
        self._has_ended = True
        self._changed.set()

    def _take(self, content: dict[str, Any]) -> None:
        if "progress" in content:
            self.progress = Report(**content["progress"])
        elif "result" in content:
            self._outcome = Outcome(result=content["result"])
        elif "error" in content:
            self._outcome = Outcome(error_code=content["error"]["code"], message=content["error"]["message"])


def _environment(settings: Settings) -> dict[str, str]:
    folders = {model: str(folder) for model, folder in settings.model_folders.items()}
    return {
        "IMAGEFARM_DATA_DIR": str(settings.data_dir),
        "IMAGEFARM_MODELS_DIR": str(settings.resolved_models_dir),
        "IMAGEFARM_MODEL_FOLDERS": json.dumps(folders),
        "IMAGEFARM_WEIGHTS_DIRS": json.dumps([str(folder) for folder in settings.weights_dirs]),
    }
