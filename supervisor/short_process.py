"""Run a call in a short process of its own, so that what it imports takes none of the supervisor's memory."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from core.errors import FarmError, InvalidInput, Unavailable

_KINDS: dict[str, type[FarmError]] = {"InvalidInput": InvalidInput, "Unavailable": Unavailable, "FarmError": FarmError}


def run_in_short_process(call: Callable[[], bool]) -> bool:
    """Return what `call` returns, and raise a FarmError of the same message and code when it does.

    It runs in a fork: call this before the first thread starts. Other errors print their traceback and raise RuntimeError.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        run_and_exit(call, writer)
    os.close(writer)
    try:
        return read_result(reader)
    finally:
        os.waitpid(child, 0)


def read_result(reader: int) -> bool:
    """Return what the call of `run_and_exit` at the other end returns; raise what `run_in_short_process` does."""
    with os.fdopen(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    if not text:
        raise RuntimeError("The process that looks at the database ended without a result.")
    result = json.loads(text)
    if "message" in result:
        raise _KINDS[result["kind"]](result["message"], code=result["code"])
    return bool(result["value"])


def run_and_exit(call: Callable[[], bool], writer: int) -> NoReturn:
    """Write the result as JSON and end without the parent's clean-up."""
    try:
        try:
            result: dict[str, object] = {"value": call()}
        except FarmError as error:
            kind = next(name for name, each in _KINDS.items() if isinstance(error, each))
            result = {"kind": kind, "message": error.message, "code": error.code}
        os.write(writer, json.dumps(result).encode())
    except BaseException:  # noqa: BLE001 -- the parent reports that there is no result
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)
