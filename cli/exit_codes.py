"""Exit codes, and the wrapper that turns an error into a message and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum

from core.errors import FarmError, Forbidden, InvalidInput, TooManyRequests, Unauthorized, Unavailable


class ExitCode(IntEnum):
    """Exit codes of `imagefarm`; the meanings are part of its interface."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    ALREADY_RUNNING = 4
    PORT_TAKEN = 5
    NOT_DONE = 6
    REFUSED = 7
    EXTRA_MISSING = 8
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "success",
    ExitCode.FAILED: "the command failed, or a job that it waited for failed",
    ExitCode.USAGE: "the command line or a setting is wrong",
    ExitCode.UNREACHABLE: "the farm, its database or its Redis cannot be reached",
    ExitCode.ALREADY_RUNNING: "another `imagefarm up` or `imagefarm batch` is using the same data",
    ExitCode.PORT_TAKEN: "another program is using a port",
    ExitCode.NOT_DONE: "the job was not done within the time to wait; it continues on the farm",
    ExitCode.REFUSED: "the farm refused the request: a key is missing or lacks a scope, or a limit is reached",
    ExitCode.EXTRA_MISSING: "the command needs a part of imagefarm that is not installed",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
}

_BY_CODE = {
    "exposed_without_keys": ExitCode.USAGE,
    "redis_refused": ExitCode.USAGE,
    "redis_missing": ExitCode.UNREACHABLE,
    "already_running": ExitCode.ALREADY_RUNNING,
    "port_taken": ExitCode.PORT_TAKEN,
    "data_dir_unusable": ExitCode.FAILED,
    "database_damaged": ExitCode.FAILED,
    "database_newer": ExitCode.FAILED,
    "database_encoding": ExitCode.FAILED,
    "database_refused": ExitCode.FAILED,
    "database_tables_missing": ExitCode.FAILED,
    "wait_timeout": ExitCode.NOT_DONE,
    "export_failed": ExitCode.FAILED,
    "extra_missing": ExitCode.EXTRA_MISSING,
    "not_a_farm": ExitCode.UNREACHABLE,
}
_BY_CLASS: dict[type[FarmError], ExitCode] = {
    InvalidInput: ExitCode.USAGE,
    Unavailable: ExitCode.UNREACHABLE,
    Unauthorized: ExitCode.REFUSED,
    Forbidden: ExitCode.REFUSED,
    TooManyRequests: ExitCode.REFUSED,
}


def exit_code_for(error: FarmError) -> ExitCode:
    """Return the exit code of an error that ends a command: by its code, else by its class."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((code for each, code in _BY_CLASS.items() if isinstance(error, each)), ExitCode.FAILED)


DEBUG_VARIABLE = "IMAGEFARM_DEBUG"


def run_guarded(command: Callable[[], int]) -> int:
    """Run the command; return its exit code, or that of the error that ended it."""
    try:
        return command()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except FarmError as error:
        for message in _messages(error):
            print_message(message)
        return exit_code_for(error)
    except BrokenPipeError:
        sys.stderr = sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 -- the reader of our output has ended
        return ExitCode.FAILED
    except OSError as error:
        print_message(_explain_os_error(error))
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 -- the outermost handler
        _print_unexpected(error)
        return ExitCode.FAILED


def _explain_os_error(error: OSError) -> str:
    """Return what the system refused, such as a full disk or a missing right."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}." if error.filename else f"The system refused: {reason}."


def _messages(error: FarmError) -> list[str]:
    """Return one message per problem."""
    from core.parameters import InvalidParameters  # which imports Pillow: not every part of a farm needs it

    if isinstance(error, InvalidParameters):
        return [f"{field}: {message}" for field, message in error.problems]
    return [error.message]


def print_message(message: str) -> None:
    """Print a message for people on standard error, separate from the command's output."""
    sys.stderr.write(f"imagefarm: {message}\n")


def _print_unexpected(error: Exception) -> None:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    print_message(f"unexpected error: {type(error).__name__}: {error}")
    print_message(f"Set {DEBUG_VARIABLE}=1 for the traceback. `imagefarm doctor` checks this machine.")
