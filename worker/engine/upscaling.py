"""Build the engine of an upscaling worker. It is ready at once; torch is imported for its first image."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING

from core.catalogue.upscalers import list_upscalers
from core.queue import UPSCALE
from worker.engine.messages import EngineInfo
from worker.engine.spec import EngineSpec

if TYPE_CHECKING:
    from worker.engine.parts import EngineParts

CAPACITY = 2
"""One image is enlarged while the next one's file is read and the last one's stored."""


def upscaling_info(spec: EngineSpec) -> EngineInfo:
    """Return what is known before the first image; each image's record names the device that enlarged it."""
    return EngineInfo(
        model=UPSCALE,
        family=UPSCALE,
        device=spec.device,
        device_name=spec.device,
        dtype="",
        memory_policy="",
        capacity=spec.capacity or CAPACITY,
        token_budget=1,
        attention_backend="",
        load_seconds=0.0,
        process_id=os.getpid(),
        versions={"torch": version("torch")},
        upscalers={
            row.id: row.model_dump(mode="json", include={"title", "about", "licence", "origin", "scales"})
            for row in list_upscalers(spec.upscaler_dirs)
            if row.is_installed
        },
    )


def build_upscaling(spec: EngineSpec, info: EngineInfo) -> EngineParts:
    """Return the engine's parts. Raises RenderError `invalid_input` for a device that does not exist."""
    from worker.device.torch_device import use_all_cores
    from worker.engine.parts import EngineParts
    from worker.pipelines.upscalers.family import CPU, UpscaleFamily

    use_all_cores()
    family = UpscaleFamily(spec.device, spec.upscaler_dirs)
    return EngineParts(
        family,
        info,
        _OneAtATime(),
        CPU,  # Tiles are on the host when a step ends, whichever device computed them: there is nothing to pace.
        overlaps_decode=False,
        overlaps_encode=False,
        peaks=None,
        blocks=[],
        aborts_steps=False,
        warnings_of=family.warnings_of,
    )


class _OneAtATime:
    def admits(self, request: object, others: object) -> bool:
        """Return false: memory is bounded for one image."""
        return False
