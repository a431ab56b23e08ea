"""Turns errors into a message and an exit code; a person at the terminal never sees a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from cli.exit_codes import ExitCode, exit_code_for
from core.errors import FarmError
from core.parameters import InvalidParameters

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
