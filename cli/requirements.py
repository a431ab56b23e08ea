"""Declare which extras a command needs, and end it with a clear message where one is not installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from core.extras import require_extras

Parameters = ParamSpec("Parameters")


def needs(*extras: str) -> Callable[[Callable[Parameters, int]], Callable[Parameters, int]]:
    """Return a decorator that raises MissingExtra before the command runs; `--help` works without the extras."""

    def decorate(command: Callable[Parameters, int]) -> Callable[Parameters, int]:
        @wraps(command)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> int:
            require_extras(*extras)
            return command(*args, **kwargs)

        return checked

    return decorate
