"""The parts of a loaded engine that its loop, encoder and decoder share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from core.render import RenderRequest
from worker.engine.admission_policy import AdmissionPolicy
from worker.engine.messages import EngineInfo
from worker.engine.peak_memory import PeakMemoryTracker
from worker.pipelines.family import AnyFamily


def _nothing() -> None:
    pass


def _no_warnings(_: RenderRequest) -> tuple[str, ...]:
    return ()


def _no_hashes(_: RenderRequest) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class EngineParts:
    """Everything that loading a model produces. Only the figures in `peaks` change while the engine runs.

    `overlaps_decode`, `overlaps_encode`: these run on threads of their own, in parallel to the steps.
    `blocks`: the denoiser's blocks to hook for progress and aborts; empty where steps are short or compiled.
    `aborts_steps`: whether a step may be abandoned between two blocks.
    `warnings_of`: sentences for the user about the LoRAs of a finished request, such as one that fits in part.
    `lora_hashes_of`: name -> short hash of the LoRAs of a finished request. Neither is called for one without LoRAs.
    `peaks`: None where peak memory is not measured.
    `modules`: the components with weights, which may move to host memory while another model is loaded; empty where they
    may not. `suspend` is called before they move, and `resume` restores this model's choices after another one was loaded.
    `on_idle`: called when no request is left.
    `around_decode`: entered for each decode, and left after it.
    """

    family: AnyFamily
    info: EngineInfo
    admission: AdmissionPolicy
    device: torch.device
    overlaps_decode: bool
    overlaps_encode: bool
    peaks: PeakMemoryTracker | None
    blocks: list[nn.Module]
    aborts_steps: bool
    warnings_of: Callable[[RenderRequest], tuple[str, ...]] = _no_warnings
    lora_hashes_of: Callable[[RenderRequest], dict[str, str]] = _no_hashes
    modules: tuple[nn.Module, ...] = ()
    suspend: Callable[[], None] = _nothing
    resume: Callable[[], None] = _nothing
    on_idle: Callable[[], None] = _nothing
    around_decode: Callable[[], AbstractContextManager[None]] = nullcontext
