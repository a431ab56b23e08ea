"""Torch's own attention kernels: they are chosen by switches of the whole process, which other threads compute under too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend

NATIVE, CUDNN = "native", "_native_cudnn"
SWITCHING = frozenset({"_native_efficient", "_native_flash", "_native_math"})
"""Diffusers calls these with all other kernels switched off. An attention of another thread that needs another kernel, of
a VAE or of a text encoder on the CPU, then fails: nothing may run beside the steps."""
_AS_IT_COMES: list[int] = torch._C._get_sdp_priority_order()
"""Torch's order, kernels by number."""
_preferred: list[int] = []


def without_switches(backend: str) -> str:
    """The name to give diffusers: a wish for cuDNN's kernel puts that first in `preferred_order` and shuts no other out."""
    _preferred[:] = [SDPBackend.CUDNN_ATTENTION.value] if backend == CUDNN else []
    return NATIVE if backend == CUDNN else backend


@contextmanager
def preferred_order() -> Iterator[None]:
    """Its body, a step, takes the kernel that was wished for where it can, and other threads meanwhile; encodes of the loop
    take torch's choice."""
    if not _preferred:
        yield
        return
    torch._C._set_sdp_priority_order([*_preferred, *(kernel for kernel in _AS_IT_COMES if kernel not in _preferred)])
    try:
        yield
    finally:
        torch._C._set_sdp_priority_order(_AS_IT_COMES)
