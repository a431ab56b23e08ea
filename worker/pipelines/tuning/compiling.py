"""Compile a denoiser's repeated blocks, with CUDA graphs in modes that use them; fall back if compilation fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from worker.models.libraries import Pipeline, denoiser_of
from worker.pipelines.tuning.warmup import stop_if_broken

log = logging.getLogger(__name__)
DEFAULT_MODE = "default"
GRAPH_MODES = frozenset({"reduce-overhead", "max-autotune"})
"""Modes of torch.compile that record and replay CUDA graphs."""
MOST_GRAPHS = 64
"""Graphs of one kind of block: alone and batched, with masks and without, at one size and at any. Torch's default limit of
8 is reached by ordinary requests, and every later one that needs another graph fails."""


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
    denoiser.requires_grad_(False)  # The first adapter would do it, and every graph would have to be compiled again.
    torch._dynamo.config.cache_size_limit = MOST_GRAPHS  # The option's name in all supported versions of torch.
    if not mode.startswith("max-autotune"):
        _use_library_gemms()
    hooks = _keep_outputs(denoiser) if mode in GRAPH_MODES else []
    denoiser.compile_repeated_blocks(fullgraph=True, mode=mode)
    try:
        try_out()
    except Exception as error:
        stop_if_broken(
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
    """Restrict matrix products to the vendor's library.

    In every mode torch would otherwise autotune dozens of Triton kernels for 8-bit products, for minutes; it also
    mistakes fp8 weights that are held as bytes for bytes (torch 2.11 fails on them).
    """
    import torch._inductor.config

    torch._inductor.config.max_autotune_gemm_backends = "ATEN"


def _keep_outputs(denoiser: Pipeline) -> list[Any]:
    """Register hooks that mark each step's begin and copy outputs, which a CUDA graph's next replay overwrites."""
    begin = denoiser.register_forward_pre_hook(_begin_step)
    copy = denoiser.register_forward_hook(lambda _module, _inputs, output: _copied(output))
    return [begin, copy]


def _begin_step(*_: object) -> None:
    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def _copied(output: Any) -> Any:  # noqa: ANN401 - any output of a denoiser
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, list | tuple):
        return type(output)(_copied(part) for part in output)
    for name, value in output.items():  # A diffusers output object: items and attributes are the same.
        output[name] = _copied(value)
    return output
