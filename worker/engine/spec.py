"""The spec that an engine process is started with, built from settings, and the exit statuses of the process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from core.catalogue import CatalogueModel, catalogue_of
from core.queue import UPSCALE
from core.settings import Settings

EXIT_BROKEN_DEVICE = 70
EXIT_HUNG = 71
EXIT_MEANINGS = {
    EXIT_BROKEN_DEVICE: "its device is broken",
    EXIT_HUNG: "encoding a prompt or decoding an image hung",
}


@dataclass(frozen=True)
class EngineSpec:
    """Parameters of an engine process.

    `device`: `auto`, `cpu`, `cuda` or `cuda:N`. `capacity`: requests held at once; 0 lets the memory policy decide.
    `row`: the catalogue row of `model`; None for shipped models.
    `model_folders`: model id -> a folder with its weights in diffusers' layout, in addition to `models_dir`.
    `weights_dirs`: folders whose `loras/` hold adapters, in addition to those in `models_dir`.
    `device_memory_gb`: most memory that it takes of a GPU, in 10^9 bytes; 0 means all that is free.
    `token_budget`: most tokens in one forward pass; 0 lets the memory policy decide.
    `compile_blocks`: None lets the memory policy decide; compiled, the last bits differ from the stock pipeline's.
    `compile_mode`: of torch.compile. `attention_backend`: a name of diffusers' attention dispatch; `auto` measures them.
    `step_timeout_seconds`: a longer step, encode or decode means a hung device; on a CPU only if it does not compute.
    `upscaler_dirs`: folders of upscalers' weight files. With core.queue.UPSCALE as `model`, the engine only enlarges images.
    `tiny_decoder`: whether to decode with a tiny decoder in place of the VAE, apart from strict requests.
    `text_encoder_device`: as `device`; `auto` lets the memory policy decide.
    `module`: what `python -m` runs as the child process.
    """

    model: str
    device: str
    memory_policy: str
    models_dir: Path
    capacity: int
    step_timeout_seconds: float
    load_timeout_seconds: float
    model_folders: dict[str, Path] = field(default_factory=dict)
    weights_dirs: tuple[Path, ...] = ()
    device_memory_gb: float = 0.0
    token_budget: int = 0
    compile_blocks: bool | None = None
    compile_mode: str = "default"
    attention_backend: str = "auto"
    tiny_decoder: bool = False
    module: str = "worker.engine"
    upscaler_dirs: tuple[Path, ...] = ()
    row: CatalogueModel | None = None
    text_encoder_device: str = "auto"


def spec_from_settings(settings: Settings, model: str) -> EngineSpec:
    """Return the spec of one engine that serves `model`. Raises InvalidInput for an unknown model."""
    catalogue = catalogue_of(settings)
    return EngineSpec(
        model=model,
        device=settings.device,
        memory_policy=settings.memory_policy,
        models_dir=settings.resolved_models_dir,
        device_memory_gb=settings.device_memory_gb,
        capacity=settings.worker_capacity,
        step_timeout_seconds=settings.step_timeout_seconds,
        load_timeout_seconds=settings.load_timeout_seconds,
        model_folders=dict(settings.model_folders),
        weights_dirs=tuple(settings.weights_dirs),
        compile_blocks={"on": True, "off": False}.get(settings.compile_blocks),
        compile_mode=settings.compile_mode,
        attention_backend=settings.attention_backend,
        tiny_decoder=settings.tiny_decoder == "on",
        row=catalogue.get(model) if model != UPSCALE and catalogue.source_of(model) != "shipped" else None,
        module="worker.synthetic" if settings.renderer == "synthetic" and model != UPSCALE else "worker.engine",
        upscaler_dirs=settings.upscaler_dirs,
        text_encoder_device=settings.text_encoder_device,
    )
