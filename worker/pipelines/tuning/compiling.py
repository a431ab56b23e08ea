"""Compile a denoiser's repeated blocks, with CUDA graphs in modes that use them; fall back if compilation fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from worker.models.libraries import Pipeline, denoiser_of
from worker.pipelines.tuning.warmup import raise_if_device_broken

log = logging.getLogger(__name__)
DEFAULT_MODE = "default"
GRAPH_MODES = frozenset({"reduce-overhead", "max-autotune"})
"""Modes of torch.compile that record and replay CUDA graphs."""
MAX_GRAPHS = 64
"""Limit of graphs per kind of block: alone and batched, with and without masks, for one size and for any. Ordinary requests
reach torch's default limit of 8, and with `fullgraph` each later request that needs another graph would fail."""


def compile_and_try(pipeline: Pipeline, mode: str, try_out: Callable[[], None]) -> str:
    """Compile the denoiser's repeated blocks and run `try_out`; if that fails, undo it and run `try_out` uncompiled.

    Return the `compiled_blocks` value of each image's record: `true`, `false` if there are no such blocks, or `failed`.
    Raise what `try_out` raises without compiled blocks, and RenderError `invalid_input` when compiled ones break the
    device, which only a new process can repair.
    """
    denoiser = denoiser_of(pipeline)
    if not getattr(denoiser, "_repeated_blocks", None):
        try_out()
        return "false"
    denoiser.requires_grad_(False)  # The first adapter would do this, and every graph would be compiled again.
    torch._dynamo.config.cache_size_limit = MAX_GRAPHS  # The option's name in all supported versions of torch.
    if not mode.startswith("max-autotune"):
        _use_library_gemms()
    hooks = _keep_outputs(denoiser) if mode in GRAPH_MODES else []
    denoiser.compile_repeated_blocks(fullgraph=True, mode=mode)
    try:
        try_out()
    except Exception as error:
        raise_if_device_broken(
            error, f"compiled blocks ({mode})", "Set IMAGEFARM_COMPILE_BLOCKS=off or another IMAGEFARM_COMPILE_MODE."
        )
        log.warning("compiling the model's blocks (%s) failed: rendering uncompiled, more slowly", mode, exc_info=True)
    else:
        return "true"
    for hook in hooks:
        hook.remove()
    for module in denoiser.modules():
        module._compiled_call_impl = None
    try_out()
    return "failed"


def _use_library_gemms() -> None:
    """Restrict matmuls to the vendor's library.

    In every mode torch otherwise autotunes dozens of Triton kernels for 8-bit matmul, for minutes; it also
    mistakes fp8 weights that are held as bytes for bytes (torch 2.11 fails on them).
    """
    import torch._inductor.config

    torch._inductor.config.max_autotune_gemm_backends = "ATEN"


def _keep_outputs(denoiser: Pipeline) -> list[Any]:
    """Register hooks that mark the start of each step and copy outputs, which the next replay of a CUDA graph overwrites."""
    mark = denoiser.register_forward_pre_hook(_mark_step_begin)
    copy = denoiser.register_forward_hook(lambda _module, _inputs, output: _copied(output))
    return [mark, copy]


def _mark_step_begin(*_: object) -> None:
    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def _copied(output: Any) -> Any:  # noqa: ANN401 - any output of a denoiser
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, list | tuple):
        return type(output)(_copied(part) for part in output)
    for name, value in output.items():  # A diffusers output object: items and attributes are the same.
        output[name] = _copied(value)
    return output
