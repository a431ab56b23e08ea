"""Run a step in tuned mode or exactly as the stock pipeline does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from core.deferred_imports import is_imported
from core.render import RenderRequest
from worker.models.joined_projections import separate_projections
from worker.models.libraries import Pipeline
from worker.pipelines.tuning.attention import native_attention, preferred_kernels, preferred_order


def runs_uncompiled(request: RenderRequest) -> bool:
    """Return whether the request bypasses compiled blocks.

    Strict requests do, since their images are bit-identical to the stock pipeline's. Requests with adapters do because
    blocks would be recompiled for every adapter and for many scales, while all other requests wait.
    """
    return request.strict or bool(request.loras)


@contextmanager
def execution_mode(pipeline: Pipeline, request: RenderRequest) -> Iterator[None]:
    """Context manager for one step of that request; strict requests use stock attention and uncompiled blocks.

    The compiler keeps its mode until the next step.
    """
    if is_imported("torch._dynamo"):  # Nothing is compiled before its import, which takes a second.
        torch.compiler.set_stance("force_eager" if runs_uncompiled(request) else "default")
    if not request.strict:
        with preferred_order() if preferred_kernels else nullcontext():
            yield
        return
    with native_attention(pipeline), separate_projections():
        yield
