"""A VAE that cannot be trusted in fp16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from worker.pipelines.untyped import Vae


@contextmanager
def without_overflow(vae: Vae) -> Iterator[None]:
    """XL's overflows in fp16, and its configuration says so: it is raised to fp32 while it works."""
    upcast = vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
    if upcast:
        vae.to(dtype=torch.float32)
    try:
        yield
    finally:
        if upcast:
            vae.to(dtype=torch.float16)
