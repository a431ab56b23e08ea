"""Compiled blocks, with CUDA graphs where the mode uses them; without a working compiler, all is as before."""

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
"""Of one kind of block: alone and in company, with masks and without, at one size and at any. Torch's own limit of 8 is
reached by ordinary requests, and from then on each one that needs another graph fails."""


def compile_and_try(pipeline: Pipeline, mode: str, try_out: Callable[[], None]) -> str:
    """Compile the denoiser's repeated blocks and run `try_out`; uncompiled again, and once more, when that fails.

    Returns what the record of each image says as `compiled_blocks`: `true`, `false` where there are no such blocks, or
    `failed`. Raises what `try_out` raises without compiled blocks, and RenderError `invalid_input` when compiled ones break
    the device, which only a new process can mend.
    """
    denoiser = denoiser_of(pipeline)
    if not getattr(denoiser, "_repeated_blocks", None):
        try_out()
        return "false"
    denoiser.requires_grad_(False)  # The first adapter would do so, and every graph would have to be made anew.
    torch._dynamo.config.cache_size_limit = MOST_GRAPHS  # Its name in every version of torch that we take.
    if not mode.startswith("max-autotune"):
        _leave_products_to_their_library()
    hooks = _keep_outputs(denoiser) if mode in GRAPH_MODES else []
    denoiser.compile_repeated_blocks(fullgraph=True, mode=mode)
    try:
        try_out()
    except Exception as error:
        stop_if_broken(
            error, f"compiled blocks ({mode})", "Set IMAGEFARM_COMPILE_BLOCKS=off or another IMAGEFARM_COMPILE_MODE."
        )
        log.warning("compiling the model's blocks (%s) failed: rendering without, more slowly", mode, exc_info=True)
    else:
        return "true"
    for hook in hooks:
        hook.remove()
    for module in denoiser.modules():
        module._compiled_call_impl = None
    try_out()
    return "failed"


def _leave_products_to_their_library() -> None:
    """For products in 8 bits torch tries dozens of kernels of its own in every mode, for minutes, unless it is told not to;
    and it takes weights in fp8 that are held as bytes for bytes (torch 2.11 fails over them)."""
    import torch._inductor.config

    torch._inductor.config.max_autotune_gemm_backends = "ATEN"


def _keep_outputs(denoiser: Pipeline) -> list[Any]:
    """A graph's next replay writes over what it gave: say where a step begins, and copy what outlives it."""
    begin = denoiser.register_forward_pre_hook(_begin_step)
    copy = denoiser.register_forward_hook(lambda _module, _inputs, output: _copied(output))
    return [begin, copy]


def _begin_step(*_: object) -> None:
    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def _copied(output: Any) -> Any:  # noqa: ANN401 - whatever a denoiser returns
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, list | tuple):
        return type(output)(_copied(part) for part in output)
    for name, value in output.items():  # One of diffusers' output objects: items and attributes are the same.
        output[name] = _copied(value)
    return output
