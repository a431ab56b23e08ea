"""Exit codes, so that a script knows what happened without reading text."""

from __future__ import annotations

from enum import IntEnum

from core.errors import FarmError, Forbidden, InvalidInput, TooManyRequests, Unauthorized, Unavailable


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
