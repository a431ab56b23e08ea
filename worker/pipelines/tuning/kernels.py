"""Torch's own attention kernels: they are chosen by switches of the whole process, which other threads compute under too."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend

NATIVE, CUDNN = "native", "_native_cudnn"
SWITCHING = frozenset({"_native_efficient", "_native_flash", "_native_math"})
"""Diffusers calls these with all other kernels switched off. An attention of another thread that needs another kernel, of
a VAE or of a text encoder on the CPU, then fails: nothing may run beside the steps."""
_AS_IT_COMES: list[int] = torch._C._get_sdp_priority_order()
"""Torch's order, kernels by number."""


def without_switches(backend: str) -> str:
    """The name to give diffusers: a wish for cuDNN's kernel puts that first in torch's order and shuts no other out."""
    first = [SDPBackend.CUDNN_ATTENTION.value] if backend == CUDNN else []
    torch._C._set_sdp_priority_order([*first, *(kernel for kernel in _AS_IT_COMES if kernel not in first)])
    return NATIVE if backend == CUDNN else backend
