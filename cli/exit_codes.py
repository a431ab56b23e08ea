"""Exit codes, and the wrapper that turns errors into a message and one of them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum

from core.errors import FarmError, Forbidden, InvalidInput, TooManyRequests, Unauthorized, Unavailable
from core.parameters import InvalidParameters


class ExitCode(IntEnum):
    """What `imagefarm` ends with; the meanings are part of its interface."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    ALREADY_RUNNING = 4
    PORT_TAKEN = 5
    NOT_DONE = 6
    REFUSED = 7
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the command failed, or a job it waited for did",
    ExitCode.USAGE: "the command line or a setting is wrong",
    ExitCode.UNREACHABLE: "the farm, its database or its Redis cannot be reached",
    ExitCode.ALREADY_RUNNING: "another `imagefarm up` or `imagefarm batch` runs on the same data",
    ExitCode.PORT_TAKEN: "a port is taken by another program",
    ExitCode.NOT_DONE: "the time to wait was over before the job was; it goes on",
    ExitCode.REFUSED: "the farm refused: a key is missing or lacks the right, or a limit is reached",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
}

_BY_CODE = {
    "exposed_without_keys": ExitCode.USAGE,
    "redis_missing": ExitCode.UNREACHABLE,
    "already_running": ExitCode.ALREADY_RUNNING,
    "port_taken": ExitCode.PORT_TAKEN,
    "data_dir_unusable": ExitCode.FAILED,
    "wait_timeout": ExitCode.NOT_DONE,
    "export_failed": ExitCode.FAILED,
    "not_a_farm": ExitCode.UNREACHABLE,
}
_BY_KIND: dict[type[FarmError], ExitCode] = {
    InvalidInput: ExitCode.USAGE,
    Unavailable: ExitCode.UNREACHABLE,
    Unauthorized: ExitCode.REFUSED,
    Forbidden: ExitCode.REFUSED,
    TooManyRequests: ExitCode.REFUSED,
}


def exit_code_for(error: FarmError) -> ExitCode:
    """The exit code of an error that ends a command: by its code, else by its kind."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((code for kind, code in _BY_KIND.items() if isinstance(error, kind)), ExitCode.FAILED)


DEBUG_VARIABLE = "IMAGEFARM_DEBUG"


def run_guarded(command: Callable[[], int]) -> int:
    """The command's exit code, or that of the error it ended with."""
    try:
        return command()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except FarmError as error:
        for message in _messages(error):
            say(message)
        return exit_code_for(error)
    except BrokenPipeError:
        sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 -- whoever read our output has gone
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 -- the last resort before the user's eyes
        _say_unforeseen(error)
        return ExitCode.FAILED


def _messages(error: FarmError) -> list[str]:
    """One for each thing that is wrong."""
    if isinstance(error, InvalidParameters):
        return [f"{field}: {message}" for field, message in error.problems]
    return [error.message]


def say(message: str) -> None:
    """One message to the person, apart from the command's output."""
    sys.stderr.write(f"imagefarm: {message}\n")


def _say_unforeseen(error: Exception) -> None:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    say(f"this should not have happened: {type(error).__name__}: {error}")
    say(f"{DEBUG_VARIABLE}=1 shows where. `imagefarm doctor` checks this machine.")
