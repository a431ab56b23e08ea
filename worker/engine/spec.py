"""Describe the engine process to start: its spec, how settings fill it, and its exit statuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from core.settings import Settings

EXIT_BROKEN_DEVICE = 70
EXIT_HUNG = 71
EXIT_MEANINGS = {
    EXIT_BROKEN_DEVICE: "its device is beyond repair",
    EXIT_HUNG: "a prompt or a picture beside the steps took too long",
}


@dataclass(frozen=True)
class EngineSpec:
    """`device`: `auto`, `cpu`, `cuda` or `cuda:N`. `capacity`: requests held at once; 0 lets the memory policy decide.

    `model_folders`: model id -> a folder with its weights in diffusers' layout, beside `models_dir`.
    `device_memory_gb`: most that it takes of a card, in 10^9 bytes; 0 means what is free.
    `token_budget`: most tokens in one forward pass; 0 lets the memory policy decide.
    `compile_blocks`: None lets the memory policy decide; compiled, the last bits differ from the stock pipeline's.
    `compile_mode`: of torch.compile. `attention_backend`: a name of diffusers' attention dispatch; `auto` tries them out.
    A step, an encode or a decode that takes longer than `step_timeout_seconds` means a hung device; on a CPU, one that does
    not even compute.
    `module` is what `python -m` runs as the child.
    """

    model: str
    device: str
    memory_policy: str
    models_dir: Path
    capacity: int
    step_timeout_seconds: float
    load_timeout_seconds: float
    model_folders: dict[str, Path] = field(default_factory=dict)
    device_memory_gb: float = 0.0
    token_budget: int = 0
    compile_blocks: bool | None = None
    compile_mode: str = "default"
    attention_backend: str = "auto"
    module: str = "worker.engine"


def spec_from_settings(settings: Settings, model: str) -> EngineSpec:
    """For one engine that serves `model`."""
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
        compile_blocks={"on": True, "off": False}.get(settings.compile_blocks),
        compile_mode=settings.compile_mode,
        attention_backend=settings.attention_backend,
        module="worker.synthetic" if settings.renderer == "synthetic" else "worker.engine",
    )
