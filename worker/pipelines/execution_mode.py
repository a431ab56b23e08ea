"""Run a step as the model was tuned, or as the stock pipeline runs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.render import RenderRequest
from worker.models.libraries import Pipeline
from worker.pipelines.tuning.attention import native_attention, preferred_order


def runs_uncompiled(request: RenderRequest) -> bool:
    """Strict ones, whose pictures are the stock pipeline's to the bit, and those with adapters: blocks would be compiled
    anew for every adapter and many a scale of it, while all other requests wait."""
    return request.strict or bool(request.loras)


@contextmanager
def execution_mode(pipeline: Pipeline, request: RenderRequest) -> Iterator[None]:
    """Its body is a step of that request. Strict ones pass compiled blocks by and take the attention of the stock pipeline.

    Compiled blocks are left as this request wants them until the next one comes; nothing is said to uncompiled ones.
    """
    if "torch._dynamo" in sys.modules:  # Until it is imported, which takes a second, nothing is compiled.
        torch.compiler.set_stance("force_eager" if runs_uncompiled(request) else "default")
    with native_attention(pipeline) if request.strict else preferred_order():
        yield
