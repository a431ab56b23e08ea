"""Exit codes, so that a script knows what happened without reading text."""

from __future__ import annotations

from enum import IntEnum

from core.errors import FarmError


class ExitCode(IntEnum):
    """What `imagefarm` ends with; the meanings are part of its interface."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    ALREADY_RUNNING = 4
    PORT_TAKEN = 5
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the command failed, or a job it waited for did",
    ExitCode.USAGE: "the command line or a setting is wrong",
    ExitCode.UNREACHABLE: "the farm, its database or its Redis cannot be reached",
    ExitCode.ALREADY_RUNNING: "another `imagefarm up` runs on this data directory",
    ExitCode.PORT_TAKEN: "a port is taken by another program",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
}

_BY_ERROR = {
    "invalid_input": ExitCode.USAGE,
    "exposed_without_keys": ExitCode.USAGE,
    "unknown_model": ExitCode.USAGE,
    "unavailable": ExitCode.UNREACHABLE,
    "database_unavailable": ExitCode.UNREACHABLE,
    "broker_unavailable": ExitCode.UNREACHABLE,
    "redis_missing": ExitCode.UNREACHABLE,
    "already_running": ExitCode.ALREADY_RUNNING,
    "port_taken": ExitCode.PORT_TAKEN,
}


def exit_code_for(error: FarmError) -> ExitCode:
    """The exit code of an error that ends a command."""
    return _BY_ERROR.get(error.code, ExitCode.FAILED)
