"""What an exception means for the requests that met it."""

from __future__ import annotations

import torch

from core.errors import FarmError
from core.retries import RULES

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
_BROKEN_DEVICE = ("cuda error", "cublas_status", "cudnn_status", "device-side assert", "acceleratorerror")


class BrokenDevice(BaseException):
    """The device's context is beyond repair: only a new process can go on."""


def is_out_of_memory(error: BaseException) -> bool:
    """Of the device or of the host."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def is_broken_device(error: BaseException) -> bool:
    """A CUDA error other than running out of memory sticks to the process."""
    if isinstance(error, BrokenDevice):
        return True
    text = f"{type(error).__name__} {error}".lower()
    return not is_out_of_memory(error) and isinstance(error, RuntimeError) and any(w in text for w in _BROKEN_DEVICE)


def code_and_message(error: BaseException) -> tuple[str, str]:
    """A code of core.retries.RULES and words for the user."""
    if is_out_of_memory(error):
        return "out_of_memory", "The device ran out of memory on this request, even alone. Ask for a smaller size."
    if isinstance(error, FarmError):
        return (error.code if error.code in RULES else "invalid_input"), error.message
    return "render_failed", f"The render broke off: {type(error).__name__}: {error}"
