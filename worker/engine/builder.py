"""Build an engine from its spec: load the model, tune it, set budgets and admission policy."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import nn

from core.catalogue import ModelPaths, load_catalogue
from core.catalogue.loras import LoraLibrary
from worker.device.allocator import keep_freed_memory, large_blocks_apart, return_freed_memory
from worker.device.cores import numa_nodes
from worker.device.dtypes import dtype_name
from worker.device.machine import GIGABYTE
from worker.device.read_ahead import read_ahead_while
from worker.device.torch_device import device_name, device_uuid, use_all_cores
from worker.engine.admission_policy import MemoryAdmissionPolicy
from worker.engine.messages import EngineInfo
from worker.engine.parts import EngineParts
from worker.engine.peak_memory import PeakMemoryTracker, track_cuda_peak
from worker.engine.spec import EngineSpec
from worker.engine.stepping import repeated_blocks
from worker.memory.batch_memory import overlap_budget, overlap_fits
from worker.memory.coefficients import Coefficients
from worker.memory.plan import MemoryPlan, max_pixels
from worker.models.joined_projections import join_projections, separate_for_good
from worker.models.libraries import denoiser_of
from worker.models.load import FreeableModels, LoadedPipeline, LoadRequest, load_pipeline
from worker.models.tiny_decoder import TinyDecoder, load_tiny_decoder
from worker.pipelines.adapters import DEFAULT_BYTES, Adapters
from worker.pipelines.enlarge_first import EnlargeFirst, installed_upscalers
from worker.pipelines.family import AnyFamily, FamilyContext, make_family
from worker.pipelines.tuning.attention import set_attention
from worker.pipelines.tuning.tune import Tuning, TuningOptions, tune
from worker.pipelines.tuning.warmup import Warmup

log = logging.getLogger(__name__)
CPU_TOKEN_BUDGET = 640
"""Two images of 256x256 with their captions. Larger passes on a CPU were no faster, except with the tiniest models."""
CLAIMS_PER_SLOT = 2
"""Jobs that a worker claims per sample of a family with `max_samples`, so that the next job is ready at once."""
ADAPTER_SHARE = 0.05
"""Share of the memory that was free before loading: 400 MB of an 8 GB card, which holds two to four LoRAs of Z-Image."""
OnProgress = Callable[[str, float | None], None]


def build_engine(spec: EngineSpec, on_progress: OnProgress, freeable: FreeableModels | None = None) -> EngineParts:
    """Load and prepare the model that the spec names. Raises core.errors.FarmError, whose message says what to do.

    `freeable`: models kept in host memory, which may be freed for this one.
    """
    started = time.perf_counter()
    use_all_cores()
    model = spec.row if spec.row is not None and spec.row.id == spec.model else load_catalogue().get(spec.model)
    model_paths = ModelPaths(spec.models_dir, spec.model_folders)
    request = LoadRequest(
        model_paths,
        spec.device,
        spec.memory_policy,
        max_gigabytes=spec.device_memory_gb,
        freeable=freeable,
        text_device=spec.text_encoder_device,
    )
    loaded = load_pipeline(model, request, on_progress)
    log.info(loaded.plan.describe())
    keeps_memory = loaded.device.type == "cpu" and _prepare_cpu(loaded)
    context = _family_context(spec, loaded)
    family: AnyFamily = make_family(context)
    tuning = _tune(spec, loaded, family, on_progress)
    if loaded.model.img2img == "strength":
        family = EnlargeFirst(family, loaded.device, spec.upscaler_dirs)
    is_cuda = loaded.device.type == "cuda"
    overlaps = is_cuda and tuning.allows_concurrent_compute
    overlaps_decode = overlaps and family.can_overlap_decode and _memory_allows_overlap(loaded)
    budget = spec.token_budget or _token_budget(loaded, is_cuda, overlaps_decode)
    info = _info(spec, loaded, family, tuning, budget, time.perf_counter() - started)
    peaks = _peak_tracker(spec, loaded) if is_cuda else None
    return EngineParts(
        family,
        info,
        MemoryAdmissionPolicy(loaded.plan, budget, overlaps_decode),
        loaded.device,
        overlaps_decode=overlaps_decode,
        # On the same device, encoder and denoiser would compete for it.
        overlaps_encode=overlaps and family.can_overlap_encode and loaded.text_device != loaded.device,
        peaks=peaks,
        blocks=_hooked_blocks(loaded, family, tuning),
        aborts_steps=family.name != "stock",  # A stock pipeline's own code is not written to be interrupted.
        warnings_of=lambda request: context.adapters.warnings(request.loras),
        lora_hashes_of=lambda request: context.adapters.hashes(request.loras),
        modules=_movable(loaded, tuning),
        suspend=partial(_suspend, loaded, context.adapters),
        resume=partial(_resume, loaded, tuning, peaks),
        on_idle=return_freed_memory if loaded.device.type == "cpu" else _nothing,
        # An image of a small model takes less time than what this costs.
        around_decode=large_blocks_apart if keeps_memory and loaded.expected is not None else nullcontext,
    )


def _prepare_cpu(loaded: LoadedPipeline) -> bool:
    """Keep what steps free, and read a large model's denoiser while its first prompt is encoded.

    Return whether freed memory is kept.
    """
    is_kept = keep_freed_memory()
    if (nodes := numa_nodes()) > 1:
        log.info("this machine has %d NUMA nodes: one worker on each, bound by numactl, is faster than one on all", nodes)
    encoder = getattr(loaded.pipeline, "text_encoder", None)
    if loaded.expected is not None and isinstance(encoder, nn.Module):
        read_ahead_while(encoder, denoiser_of(loaded.pipeline))
    return is_kept


def _suspend(loaded: LoadedPipeline, adapters: Adapters) -> None:
    separate_for_good(denoiser_of(loaded.pipeline))
    if loaded.device.type != "cpu":
        adapters.unload()  # While none is active they are not part of the modules that move, and would stay on the device.


def _resume(loaded: LoadedPipeline, tuning: Tuning, peaks: PeakMemoryTracker | None) -> None:
    set_attention(loaded.pipeline, tuning.attention_backend)
    if tuning.joined_projections:
        join_projections(denoiser_of(loaded.pipeline))
    if peaks is not None:
        peaks.restart()


def _nothing() -> None:
    pass


def _movable(loaded: LoadedPipeline, tuning: Tuning) -> tuple[nn.Module, ...]:
    """Return the components that may move to host memory and back; none with CUDA graphs, which hold addresses."""
    if tuning.compiled_blocks == "true" and tuning.compile_mode != "default":
        return ()
    return tuple(part for part in loaded.pipeline.components.values() if isinstance(part, nn.Module))


def _hooked_blocks(loaded: LoadedPipeline, family: AnyFamily, tuning: Tuning) -> list[nn.Module]:
    """Return the denoiser's blocks to hook for progress and aborts.

    There are none on a GPU, whose steps are short and only queued by their calls, with compiled blocks, since hooks
    would be traced into the graph, and for pipelines without a step callback.
    """
    if loaded.device.type == "cuda" or tuning.compiled_blocks == "true" or not family.has_steps:
        return []
    return repeated_blocks(denoiser_of(loaded.pipeline))


def _memory_allows_overlap(loaded: LoadedPipeline) -> bool:
    """Return whether a decode and a step fit in memory at once; false if the VAE is moved between devices for each use."""
    if loaded.plan.tier.vae_place != "device":
        return False
    if overlap_fits(loaded.plan, loaded.model.defaults.width, loaded.model.defaults.height):
        return True
    log.info("images are decoded between steps: memory does not allow both at once")
    return False


def _peak_tracker(spec: EngineSpec, loaded: LoadedPipeline) -> PeakMemoryTracker:
    coefficients = Coefficients(spec.models_dir)
    return track_cuda_peak(loaded.plan, coefficients, loaded.model.id, device_name(loaded.device), loaded.device)


def _tune(spec: EngineSpec, loaded: LoadedPipeline, family: AnyFamily, on_progress: OnProgress) -> Tuning:
    is_cuda = loaded.device.type == "cuda"
    compiles = loaded.plan.tier.compiles and is_cuda if spec.compile_blocks is None else spec.compile_blocks
    options = TuningOptions(spec.attention_backend, compiles, spec.compile_mode, loaded.multiplies_int8)
    warmup = Warmup(family, loaded.model, loaded.device, loaded.plan.token_budget)
    return tune(loaded.pipeline, warmup, options, dtype_name(loaded.dtype), on_progress)


def _family_context(spec: EngineSpec, loaded: LoadedPipeline) -> FamilyContext:
    return FamilyContext(
        pipeline=loaded.pipeline,
        model=loaded.model,
        device=loaded.device,
        text_device=loaded.text_device,
        adapters=Adapters(
            loaded.pipeline, loaded.model, LoraLibrary(spec.models_dir, spec.weights_dirs), adapter_bytes(loaded.plan)
        ),
        tiny_decoder=_tiny_decoder(spec, loaded) if spec.tiny_decoder else None,
    )


def _tiny_decoder(spec: EngineSpec, loaded: LoadedPipeline) -> TinyDecoder:
    """Look beside the model, then in the models folder and the weights folders."""
    directory = loaded.located.directory
    folders = [directory, directory.parent, spec.models_dir, *spec.weights_dirs]
    vae = loaded.pipeline.vae
    found = load_tiny_decoder(loaded.model, vae.config.latent_channels, folders, loaded.device, vae.dtype)
    log.info("images are decoded by %s, apart from those of strict requests", found.name)
    return found


def adapter_bytes(plan: MemoryPlan) -> int:
    """Return the memory for LoRAs that stay loaded: a share small enough that the plan's own figures still hold."""
    return min(int(plan.free_bytes * ADAPTER_SHARE), DEFAULT_BYTES) if plan.free_bytes else DEFAULT_BYTES


def _info(
    spec: EngineSpec, loaded: LoadedPipeline, family: AnyFamily, tuning: Tuning, token_budget: int, seconds: float
) -> EngineInfo:
    is_cuda = loaded.device.type == "cuda"
    plan = loaded.plan
    threads = {} if is_cuda else {"cpu_threads": str(torch.get_num_threads())}
    return EngineInfo(
        model=loaded.model.id,
        family=loaded.model.family,
        device=str(loaded.device),
        device_name=device_name(loaded.device),
        dtype=dtype_name(loaded.dtype),
        memory_policy=plan.policy,
        capacity=spec.capacity or min(plan.capacity, CLAIMS_PER_SLOT * (family.max_samples or plan.capacity)),
        token_budget=token_budget,
        attention_backend=tuning.attention_backend,
        load_seconds=seconds,
        process_id=os.getpid(),
        memory=_memory(plan),
        versions={**loaded.versions, **threads, **tuning.versions()},
        upscalers=installed_upscalers(spec.upscaler_dirs) if loaded.model.img2img == "strength" else {},
        max_pixels=max_pixels(plan, loaded.model),
        max_pixels_guided=max_pixels(plan, loaded.model, rows=1 if loaded.model.cfg == "none" else 2),
        expected=loaded.expected.figures() if loaded.expected is not None else {},
        device_uuid=device_uuid(loaded.device),
        text_encoder_device=str(loaded.text_device),
    )


def _token_budget(loaded: LoadedPipeline, is_cuda: bool, overlaps_decode: bool) -> int:
    if not is_cuda:
        return min(loaded.plan.token_budget, CPU_TOKEN_BUDGET)
    defaults = loaded.model.defaults
    return overlap_budget(loaded.plan, defaults.width, defaults.height) if overlaps_decode else loaded.plan.token_budget


def _memory(plan: MemoryPlan) -> dict[str, float]:
    """Return gigabytes (10^9 bytes) by name, as estimated before loading."""
    return {
        "weights_on_device": plan.estimate.resident / GIGABYTE,
        "weights_on_host": plan.estimate.host_total / GIGABYTE,
        "free_before_loading": plan.free_bytes / GIGABYTE,
        "peak_at_1024": plan.estimate.peak(1024, 1024) / GIGABYTE,
    }
