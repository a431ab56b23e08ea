"""Peaks of device memory, with this process capped as a smaller card would cap it."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.local_engine import LocalEngine, free_device
from benchmarks.gpu.report import report
from benchmarks.gpu.requests import make_requests
from core.errors import FarmError
from worker.device.machine import GIGABYTE
from worker.engine.parts import EngineParts

GOAL_PEAK_GB = 7.5
"""Of an 8 GB card. Under a higher cap nothing makes the allocator give back what it keeps: the run capped at 7.5 decides."""


def memory(arguments: argparse.Namespace, bench: Bench) -> None:
    """For each cap the tier that `auto` chooses on a card with that much free, or the tier that was named."""
    for cap in arguments.cap:
        figures: dict[str, Any] = {"cap_gigabytes": cap}
        try:
            of_cap(cap, arguments, bench, figures)
        except (FarmError, RuntimeError) as error:
            report(figures | {"failed": str(error)})
        free_device()


def of_cap(cap: float, arguments: argparse.Namespace, bench: Bench, figures: dict[str, Any]) -> None:
    """One engine, told to take no more: the peak of loading and warming up, then of one picture of each size."""
    reset_peak(bench.device)
    highest = Highest(bench.device)
    fields = {"device_memory_gb": cap, "capacity": 1}
    engine = LocalEngine(partial(bench.open, arguments.tier or "auto", highest.note, **fields))
    try:
        report(figures | of_engine(engine.opened) | {"loading": True} | told(highest.reserved, highest.in_use, bench.device))
        for side in arguments.sizes:
            reset_peak(bench.device)
            (seconds,) = engine.render(make_requests(side, 1, f"m{side}"), 1)
            tier = {"tier": engine.opened.info.memory_policy}
            report(figures | tier | {"size": side, "first_image_seconds": seconds} | told(*peak(bench.device), bench.device))
    finally:
        engine.stop()


def of_engine(opened: EngineParts) -> dict[str, Any]:
    """What it chose under the cap."""
    info = opened.info
    return {
        "tier": info.memory_policy,
        "estimated_peak_gigabytes": info.memory["peak_at_1024"],
        "token_budget": info.token_budget,
        "decodes_beside": opened.overlaps_decode,
        "attention_backend": info.attention_backend,
        "versions": info.versions,
    }


class Highest:
    """Of the peaks at each stage of loading: the engine begins to count anew when it is ready."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.reserved = self.in_use = 0.0

    def note(self, _stage: str, _fraction: float | None) -> None:
        reserved, in_use = peak(self._device)
        self.reserved, self.in_use = max(self.reserved, reserved), max(self.in_use, in_use)


def reset_peak(device: torch.device) -> None:
    """What the allocator keeps for later is given back first, or it would count."""
    free_device()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> tuple[float, float]:
    """Gigabytes that torch reserved since the reset, and that tensors held of them; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0, 0.0
    return torch.cuda.max_memory_reserved(device) / GIGABYTE, torch.cuda.max_memory_allocated(device) / GIGABYTE


def told(reserved: float, in_use: float, device: torch.device) -> dict[str, float | bool]:
    """`taken_of_card`: of the whole card now, by others too; with the CUDA context and libraries' own allocations."""
    free, total = torch.cuda.mem_get_info(device) if device.type == "cuda" else (0, 0)
    return {
        "peak_gigabytes": reserved,
        "in_use_gigabytes": in_use,
        "taken_of_card_gigabytes": (total - free) / GIGABYTE,
        "within_goal_of_8_gb_cards": reserved <= GOAL_PEAK_GB,
    }
