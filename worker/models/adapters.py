"""What the catalogue row changes about a loaded pipeline: its scheduler and the LoRAs that are part of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import diffusers
from diffusers import DiffusionPipeline

from core.catalogue import CatalogueModel


def set_scheduler(pipeline: DiffusionPipeline, model: CatalogueModel) -> None:
    """Replace the scheduler by the row's, made from the configuration of the one that was there."""
    if model.scheduler is None:
        return
    cls = getattr(diffusers, model.scheduler.cls)
    pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **model.scheduler.config)


def fuse_loras(pipeline: DiffusionPipeline, model: CatalogueModel, files: Sequence[Path]) -> None:
    """Add the row's LoRAs to the weights themselves, so that adapters stay free for what a job asks for."""
    for index, (lora, file) in enumerate(zip(model.loras, files, strict=True)):
        name = f"model_{index}"
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=name, local_files_only=True)
        pipeline.fuse_lora(lora_scale=lora.scale, adapter_names=[name])
        pipeline.unload_lora_weights()
