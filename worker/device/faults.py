"""Classify exceptions: out of memory, broken device, or the fault of one request."""

from __future__ import annotations

import torch

from core.errors import FarmError
from core.retries import RULES

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "_status_alloc_failed")
_BROKEN_DEVICE = (
    "cuda error",
    "cuda driver error",
    "triton error [",
    "cublas_status",
    "cudnn_status",
    "device-side assert",
    "acceleratorerror",
)
"""Compiled blocks launch their kernels through Triton and the driver, which name errors in their own ways."""


class BrokenDevice(BaseException):
    """The device's context is unusable: only a new process can continue."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the device or the host ran out of memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def release_tensors(error: BaseException) -> None:
    """Forget where the error and those before it were raised: tracebacks keep the tensors of a failed call alive."""
    links: list[BaseException | None] = [error]
    seen: set[int] = set()  # Links may form a circle, and one without a traceback may lead to others that have theirs.
    while links:
        if (link := links.pop()) is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            links += [link.__cause__, link.__context__]


def is_broken_device(error: BaseException) -> bool:
    """Return whether the error persists in this process, as most CUDA errors do.

    Out-of-memory errors and operations that a GPU does not support do not persist.
    """
    if isinstance(error, BrokenDevice):
        return True
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    text = f"{type(error).__name__} {error}".lower()
    return any(words in text for words in _BROKEN_DEVICE) and not _devices_answer()


def _devices_answer() -> bool:
    """Return whether the GPUs in use still work: an error that broke a context is raised again by every call."""
    try:
        used = [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index)]
        for index in used:
            torch.cuda.synchronize(index)
    except RuntimeError:
        return False
    return bool(used)


def code_and_message(error: BaseException) -> tuple[str, str]:
    """Return a code of core.retries.RULES and a message for the user."""
    if is_out_of_memory(error):
        return "out_of_memory", "The device ran out of memory on this request, even alone. Ask for a smaller size."
    if isinstance(error, FarmError):
        return (error.code if error.code in RULES else "invalid_input"), error.message
    return "render_failed", f"The render failed: {type(error).__name__}: {error}"
