"""Measure peak device memory, with this process limited to a smaller GPU's memory."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.local_engine import LocalEngine
from benchmarks.gpu.report import report
from benchmarks.gpu.requests import make_requests
from core.errors import FarmError
from worker.device.machine import GIGABYTE
from worker.device.torch_device import free_cached_memory
from worker.engine.parts import EngineParts

GOAL_PEAK_GB = 7.5
"""For an 8 GB GPU. Only the run capped at 7.5 decides: under a higher cap the allocator keeps freed memory."""


def memory(arguments: argparse.Namespace, bench: Bench) -> None:
    """Measure, for each cap, the tier that `auto` chooses on a GPU with that much free, or the named tier."""
    for cap in arguments.cap:
        figures: dict[str, Any] = {"cap_gigabytes": cap}
        try:
            measure_cap(cap, arguments, bench, figures)
        except (FarmError, RuntimeError) as error:
            report(figures | {"failed": str(error)})
        free_cached_memory()


def measure_cap(cap: float, arguments: argparse.Namespace, bench: Bench, figures: dict[str, Any]) -> None:
    """Measure an engine under a cap: the peak of loading and warming up, then of one image of each size."""
    reset_peak(bench.device)
    recorder = PeakRecorder(bench.device)
    fields = {"device_memory_gb": cap, "capacity": 1}
    engine = LocalEngine(partial(bench.open, arguments.tier or "auto", recorder.note, **fields))
    try:
        peaks = peak_figures(recorder.reserved, recorder.in_use, bench.device)
        report(figures | engine_choices(engine.opened) | {"loading": True} | peaks)
        for side in arguments.sizes:
            reset_peak(bench.device)
            (seconds,) = engine.render(make_requests(side, 1, f"m{side}"), 1)
            tier = {"tier": engine.opened.info.memory_policy}
            peaks = peak_figures(*peak(bench.device), bench.device)
            report(figures | tier | {"size": side, "first_image_seconds": seconds} | peaks)
    finally:
        engine.stop()


def engine_choices(opened: EngineParts) -> dict[str, Any]:
    """Return the engine's choices under the cap."""
    info = opened.info
    return {
        "tier": info.memory_policy,
        "estimated_peak_gigabytes": info.memory["peak_at_1024"],
        "token_budget": info.token_budget,
        "overlaps_decode": opened.overlaps_decode,
        "attention_backend": info.attention_backend,
        "versions": info.versions,
    }


class PeakRecorder:
    """Highest peak over all stages of loading: the engine resets torch's counters once it is ready."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.reserved = self.in_use = 0.0

    def note(self, _stage: str, _fraction: float | None) -> None:
        reserved, in_use = peak(self._device)
        self.reserved, self.in_use = max(self.reserved, reserved), max(self.in_use, in_use)


def reset_peak(device: torch.device) -> None:
    """Reset the peak; cached memory is freed first, or it would count."""
    free_cached_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> tuple[float, float]:
    """Return gigabytes that torch reserved since the reset, and gigabytes in tensors; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0, 0.0
    return torch.cuda.max_memory_reserved(device) / GIGABYTE, torch.cuda.max_memory_allocated(device) / GIGABYTE


def peak_figures(reserved: float, in_use: float, device: torch.device) -> dict[str, float | bool]:
    """Return the figures to report; `taken_of_gpu` counts all processes and allocations outside of torch."""
    free, total = torch.cuda.mem_get_info(device) if device.type == "cuda" else (0, 0)
    return {
        "peak_gigabytes": reserved,
        "in_use_gigabytes": in_use,
        "taken_of_gpu_gigabytes": (total - free) / GIGABYTE,
        "within_goal_of_8_gb_gpus": reserved <= GOAL_PEAK_GB,
    }
