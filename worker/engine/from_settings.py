"""What an engine is told, as the settings say."""

from __future__ import annotations

from core.settings import Settings
from worker.engine.spec import EngineSpec


def engine_spec(settings: Settings, model: str) -> EngineSpec:
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
