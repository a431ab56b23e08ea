"""Load a model onto its device in its memory tier, with the scheduler and LoRAs of its catalogue row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import diffusers
import torch
from diffusers import DiffusionPipeline

from core.catalogue import CatalogueModel, LocatedWeights, ModelPaths, locate
from core.catalogue.recognise import recognise
from core.catalogue.weight_file import WeightFile
from core.errors import InvalidInput, RenderError
from worker.device.cpu_probe import cpu_speed
from worker.device.dtypes import DTYPES, choose_dtype, dtype_name
from worker.device.machine import available_bytes
from worker.device.torch_device import (
    device_name,
    limit_memory,
    measure_machine,
    measure_text_device,
    resolve_device,
    resolve_text_device,
    use_device,
)
from worker.memory.apply import apply_tier
from worker.memory.coefficients import Coefficients
from worker.memory.cpu_form import (
    CpuForecast,
    CpuForm,
    choose_cpu_plan,
    forecast,
    forms_by_speed,
    is_measured,
    multiplies_int8,
)
from worker.memory.plan import CPU_SPARE, MemoryPlan, choose_plan
from worker.memory.sizes import read_sizes
from worker.memory.wide_layers import compute_in
from worker.models.components import assemble, load_components
from worker.models.demo import ensure_built
from worker.models.libraries import denoiser_of, silence_libraries
from worker.models.lora_fit import load_lora
from worker.models.single_files.prediction import set_prediction
from worker.models.single_files.source import revision_of_files
from worker.models.tier_reader import TierReader
from worker.models.z_image_transformer import gate_in_place

log = logging.getLogger(__name__)

OnProgress = Callable[[str, float | None], None]
"""Called with (stage, fraction 0..1 or None when it is unknown).

Stages: building, reading, converting, adapting, placing, done; the engine adds tuning and warming up.
"""
VERSIONED = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors")


def set_scheduler(pipeline: DiffusionPipeline, model: CatalogueModel) -> None:
    """Replace the scheduler by the row's, built from the previous one's configuration."""
    if model.scheduler is None:
        return
    cls = getattr(diffusers, model.scheduler.cls)
    pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **model.scheduler.config)


def fuse_loras(pipeline: DiffusionPipeline, model: CatalogueModel, files: Sequence[Path]) -> None:
    """Fuse the row's LoRAs into the weights, so that adapters remain free for a job's LoRAs."""
    for index, (lora, file) in enumerate(zip(model.loras, files, strict=True)):
        name = f"model_{index}"
        try:
            fit = load_lora(pipeline, file, name)
        except InvalidInput as error:
            raise RenderError(f"The LoRA {lora.repo} of {model.id}: {error}.", code="model_unavailable") from error
        if warning := fit.warning(lora.repo):
            log.warning(warning)
        pipeline.fuse_lora(lora_scale=lora.scale, adapter_names=[name])
        pipeline.unload_lora_weights()


def on_whole_percents(report: Callable[[float], None]) -> Callable[[float], None]:
    """Return a callback that passes on only fractions whose whole percentage differs from the previous one's."""
    reported = -1

    def throttled(fraction: float) -> None:
        nonlocal reported
        if (percent := int(fraction * 100)) != reported:
            reported = percent
            report(fraction)

    return throttled


class FreeableModels(Protocol):
    """Models in host memory that may be freed for the one that is loaded."""

    def held_bytes(self) -> int:
        """Return the bytes of their weights; 0 when there are none."""

    def free_oldest(self) -> bool:
        """Drop one; return whether there was one."""


@dataclass(frozen=True)
class LoadRequest:
    """`device`: auto, cpu, cuda or cuda:N. `dtype`: auto, or one of the row's. `memory_policy`: auto, or a tier's name.

    `max_gigabytes`: cap on the memory taken of a GPU; 0 means all that is free. `freeable`: kept models, which
    may be freed for it. `text_device`: of the text encoders, as `device`; auto lets the tier decide.
    """

    model_paths: ModelPaths
    device: str
    memory_policy: str = "auto"
    dtype: str = "auto"
    max_gigabytes: float = 0.0
    freeable: FreeableModels | None = None
    text_device: str = "auto"


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline ready to render. `load_seconds` is wall time; `versions`: by distribution, with scheduler and weights.

    `dtype`: of the products. `expected`: seconds and memory of an image on a CPU; None on a GPU and for small models.
    `multiplies_int8`: whether 8-bit weights are multiplied in 8 bits on this CPU. `text_device`: where prompts are encoded.
    """

    pipeline: DiffusionPipeline
    model: CatalogueModel
    located: LocatedWeights
    plan: MemoryPlan
    device: torch.device
    dtype: torch.dtype
    load_seconds: float
    versions: dict[str, str]
    text_device: torch.device
    expected: CpuForecast | None = None
    multiplies_int8: bool = False


@dataclass(frozen=True)
class _Choice:
    """`stored`: dtype of the weights; `compute`: of the products."""

    stored: torch.dtype
    compute: torch.dtype
    plan: MemoryPlan
    expected: CpuForecast | None = None
    multiplies_int8: bool = False


def load_pipeline(model: CatalogueModel, request: LoadRequest, on_progress: OnProgress) -> LoadedPipeline:
    """Load the model onto its device, in its memory tier.

    Raise RenderError `model_unavailable` naming the pull command when the weights are not on disk, `out_of_memory` when no
    tier fits, `invalid_input` for an unusable device, dtype or policy.
    """
    started = time.perf_counter()
    silence_libraries()
    device = resolve_device(request.device)
    text_device = resolve_text_device(request.text_device, device)
    use_device(device)
    limit_memory(device, request.max_gigabytes)
    if model.built_locally:
        on_progress("building", None)
        ensure_built(model, request.model_paths)
    located = locate(model, request.model_paths)
    choice = _choose(model, located, device, request)
    plan, expected = choice.plan, choice.expected
    if expected is not None:
        log.info(expected.describe())
        on_progress(expected.describe(), None)
    pipeline = _read(model, located, choice, request.model_paths, on_progress)
    if choice.compute != choice.stored:
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                compute_in(part, choice.compute)
    gate_in_place(denoiser_of(pipeline))
    apply_tier(pipeline, plan.tier, device, lambda fraction: on_progress("placing", fraction), text_device)
    on_progress("done", 1.0)
    seconds = time.perf_counter() - started
    recorded = versions() | _scheduler_and_weights(pipeline, located)
    if choice.compute != choice.stored:
        recorded["weights_dtype"] = dtype_name(choice.stored)
    encodes_on = text_device or (torch.device("cpu") if plan.tier.text_place == "cpu" else device)
    return LoadedPipeline(
        pipeline,
        model,
        located,
        plan,
        device,
        choice.compute,
        seconds,
        recorded,
        encodes_on,
        expected,
        choice.multiplies_int8,
    )


def _choose(model: CatalogueModel, located: LocatedWeights, device: torch.device, request: LoadRequest) -> _Choice:
    """Choose dtypes and tier; on a CPU, unless the model is small, by what this CPU computes fastest."""
    if device.type == "cpu":
        sizes = read_sizes(located.directory, model, located.files)
        if is_measured(sizes):
            speed = cpu_speed(request.model_paths.models_dir)
            form, plan = choose_cpu_plan(
                forms_by_speed(model, speed, request.dtype),
                speed,
                lambda form: _plan_freeing_models(model, located, device, _checked(model, device, form), request),
            )
            stored, compute = DTYPES[form.stored], DTYPES[form.compute]
            return _Choice(stored, compute, plan, forecast(model, sizes, plan, form, speed), multiplies_int8(speed))
    dtype = choose_dtype(model, device, request.dtype)
    form = CpuForm(dtype_name(dtype), dtype_name(dtype))
    return _Choice(dtype, dtype, _plan_freeing_models(model, located, device, form, request))


def _checked(model: CatalogueModel, device: torch.device, form: CpuForm) -> CpuForm:
    """Raise RenderError `invalid_input` for a dtype that the row does not list."""
    choose_dtype(model, device, form.stored)
    choose_dtype(model, device, form.compute)
    return form


def _scheduler_and_weights(pipeline: DiffusionPipeline, located: LocatedWeights) -> dict[str, str]:
    """Return what else determines the image: the scheduler's class and the weights' revision."""
    revision = revision_of_files(located.files.values()) if located.files else located.revision
    found = {"scheduler": type(pipeline.scheduler).__name__, "weights_revision": revision}
    return {name: value for name, value in found.items() if value}


def _plan_freeing_models(
    model: CatalogueModel, located: LocatedWeights, device: torch.device, form: CpuForm, request: LoadRequest
) -> MemoryPlan:
    """Plan with what is free now, unless the tier would be another one without the kept models: then drop those first."""
    freeable = request.freeable
    while freeable is not None and (held := freeable.held_bytes()):
        plan = _plan(model, located, device, form, request, extra_host=held)
        host = plan.estimate.host_total + (plan.estimate.resident if device.type == "cpu" else 0)
        if host + CPU_SPARE <= available_bytes() and _plan(model, located, device, form, request).policy == plan.policy:
            break
        freeable.free_oldest()
    return _plan(model, located, device, form, request)


def _plan(
    model: CatalogueModel,
    located: LocatedWeights,
    device: torch.device,
    form: CpuForm,
    request: LoadRequest,
    extra_host: int = 0,
) -> MemoryPlan:
    """`extra_host`: bytes of host memory to count as free."""
    learned = Coefficients(request.model_paths.models_dir)
    device_label = device_name(device)
    return choose_plan(
        model,
        read_sizes(located.directory, model, located.files),
        form.stored,
        measure_machine(device, request.max_gigabytes, extra_host),
        request.memory_policy,
        lambda tier: learned.get(model.id, tier, device_label),
        form.compute,
        measure_text_device(resolve_text_device(request.text_device, device)),
    )


def _read(
    model: CatalogueModel,
    located: LocatedWeights,
    choice: _Choice,
    model_paths: ModelPaths,
    on_progress: OnProgress,
) -> DiffusionPipeline:
    on_progress("reading", 0.0)
    converting = on_whole_percents(lambda fraction: on_progress("converting", fraction))
    files: dict[str, WeightFile] = {name: recognise(path) for name, path in located.files.items()}
    reader = TierReader(model.id, choice.plan.tier, choice.stored, model_paths, converting, files, choice.compute)
    sizes: dict[str, int] = {name: path.stat().st_size for name, path in located.files.items()}
    loaded = load_components(located.directory, reader.load, lambda fraction: on_progress("reading", fraction), sizes)
    pipeline = assemble(located.directory, loaded, choice.stored)
    pipeline.set_progress_bar_config(disable=True)
    on_progress("adapting", None)
    set_prediction(pipeline, located.files)
    set_scheduler(pipeline, model)
    fuse_loras(pipeline, model, located.loras)
    return pipeline


def versions() -> dict[str, str]:
    """Return the versions of the libraries that an image depends on."""
    return {name: version(name) for name in VERSIONED}
