"""Load the safety hook that the settings name, and call it with finished images."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from PIL import Image

from core.errors import InvalidInput, RenderError

log = logging.getLogger(__name__)

Action = Literal["ok", "tag", "blur", "reject"]
MAX_LABELS, MAX_LABEL_LENGTH = 20, 100


@dataclass(frozen=True)
class Verdict:
    """What to do with an image, and why."""

    action: Action
    labels: tuple[str, ...] = ()


class SafetyHook:
    """Calls the operator's function: `hook(image, fields)` returns an action, or (action, labels)."""

    def __init__(self, name: str, function: Callable[[Image.Image, dict[str, Any]], object]) -> None:
        self.name = name
        self._function = function

    def judge(self, image: Image.Image, fields: Mapping[str, Any]) -> Verdict:
        """Return the hook's verdict. Raises RenderError `safety_hook_failed` when it has none: no image passes unchecked."""
        try:
            return _verdict(self._function(image, dict(fields)))
        except Exception as error:
            log.exception("the safety hook %s failed", self.name)
            raise RenderError(
                f"The farm's safety hook failed ({type(error).__name__}), so the image was not kept. "
                "The worker's log has the reason.",
                code="safety_hook_failed",
            ) from error


def _verdict(answer: object) -> Verdict:
    """Read a hook's answer. Raises TypeError or ValueError saying what is wrong with it."""
    action, labels = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, ())
    for known in get_args(Action):
        if action == known:
            return Verdict(known, _labels(labels))
    raise ValueError(f"it returned {answer!r}: return one of {', '.join(get_args(Action))}, or (action, labels)")


def _labels(labels: object) -> tuple[str, ...]:
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise TypeError(f"its labels are {labels!r}: return a list of texts")
    if len(labels) > MAX_LABELS or not all(isinstance(label, str) and len(label) <= MAX_LABEL_LENGTH for label in labels):
        raise ValueError(f"its labels must be at most {MAX_LABELS} texts of {MAX_LABEL_LENGTH} characters")
    return tuple(labels)


@cache
def load_safety_hook(name: str) -> SafetyHook | None:
    """Return the hook `package.module:function` of the settings, None for an empty name.

    Raises InvalidInput `safety_hook_unusable` when it cannot be imported or is no function.
    """
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise _unusable(name, f"{type(error).__name__}: {error}") from error
    if not callable(function):
        raise _unusable(name, f"{attribute} is not a function")
    return SafetyHook(name, function)


def _unusable(name: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"The safety hook '{name}' cannot be used ({reason}), and workers do not render without it. Correct "
        "IMAGEFARM_SAFETY_HOOK, install the module where this Python finds it, or unset the setting.",
        code="safety_hook_unusable",
    )
