"""Which requests pass compiled blocks by."""

from __future__ import annotations

import sys

import torch

from core.render import RenderRequest


def runs_uncompiled(request: RenderRequest) -> bool:
    """Strict ones, whose pictures are the stock pipeline's to the bit, and those with adapters: blocks would be compiled
    anew for every adapter and many a scale of it, while all other requests wait."""
    return request.strict or bool(request.loras)


def take_stance(request: RenderRequest) -> None:
    """From now on compiled blocks run as this request wants them; says nothing to blocks that are not compiled."""
    if "torch._dynamo" in sys.modules:  # Until it is imported, which takes a second, nothing is compiled.
        torch.compiler.set_stance("force_eager" if runs_uncompiled(request) else "default")
