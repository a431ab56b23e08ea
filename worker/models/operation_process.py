"""One operation on a model's weights as a process: `python -P -m worker.models.operation_process KIND MODEL`.

Prints JSON lines for its parent: `progress`, at the end `result` or `error`. It ends on SIGTERM, and when its standard
input closes, which the kernel does when the parent is killed. Settings come from the environment.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NoReturn

from core.catalogue import CatalogueModel, ModelPaths, catalogue_of
from core.errors import FarmError
from core.model_operations import OperationKind
from core.settings import Settings
from worker.models.pull import PullOptions, PullProgress, pull
from worker.models.remove_weights import remove_weights
from worker.models.verify import verify

PROGRESS_SECONDS = 0.25
"""Time between two lines of progress."""
END_SECONDS = 3.0
"""Time for cleaning up once the parent is gone."""
NICENESS = 10
"""Renders go before conversions and checks."""

logger = logging.getLogger(__name__)


class ProgressLines:
    """Prints the latest progress a few times a second, so that what came last before a stall is printed too."""

    def __init__(self) -> None:
        self._latest: PullProgress | None = None
        self._printed: PullProgress | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Print from now on, in a thread of its own."""
        threading.Thread(target=self._run, name="progress", daemon=True).start()

    def show(self, progress: PullProgress) -> None:
        """Take the progress."""
        self._latest = progress

    def flush(self) -> None:
        """Print the latest progress unless it was printed."""
        with self._lock:
            latest = self._latest
            if latest is not None and latest != self._printed:
                write_line(progress=asdict(latest))
                self._printed = latest

    def _run(self) -> None:
        while True:
            time.sleep(PROGRESS_SECONDS)
            self.flush()


def write_line(**content: Any) -> None:  # noqa: ANN401 -- JSON
    """Write one line with one write, so that lines of several threads do not mix."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def perform(kind: OperationKind, model: CatalogueModel, model_paths: ModelPaths) -> dict[str, Any]:
    """Run the operation; return its result. Raises FarmError."""
    lines = ProgressLines()
    lines.start()
    match kind:
        case OperationKind.PULL:
            pulled = pull(model, model_paths, PullOptions(), lines.show)
            return {"already_here": pulled.already_here}
        case OperationKind.VERIFY:
            return asdict(verify(model, model_paths, lines.show))
        case OperationKind.REMOVE_WEIGHTS:
            return asdict(remove_weights(model, model_paths))


def main(kind: str, model_id: str) -> int:
    """Run the operation that the arguments name; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which decides.
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    with suppress(OSError):
        os.nice(NICENESS)
    try:
        settings = Settings()
        result = perform(OperationKind(kind), catalogue_of(settings).get(model_id), ModelPaths.of(settings))
    except FarmError as error:
        write_line(error={"code": error.code, "message": error.message})
        return 1
    except OSError as error:
        logger.exception("the system refused an operation on %s", model_id)
        reason = error.strerror or str(error) or type(error).__name__
        write_line(error={"code": "system_error", "message": f"The system refused: {reason}."})
        return 1
    write_line(result=result)
    return 0


def _exit(*_: object) -> NoReturn:
    """Unwind, so that drafts are deleted; partial downloads stay."""
    raise SystemExit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    with suppress(OSError):
        while os.read(0, 1024):  # Not sys.stdin, whose lock would be held when the interpreter ends.
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
