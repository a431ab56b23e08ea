"""Peaks of device memory, with this process capped as a smaller card would cap it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.local_engine import LocalEngine, free_device
from benchmarks.gpu.report import report
from benchmarks.gpu.requests import make_requests
from benchmarks.gpu.weights import row
from core.errors import FarmError
from worker.memory.choose import choose
from worker.memory.plan import GIGABYTE, MemoryPlan
from worker.memory.sizes import read_sizes

GOAL_PEAK_GB = 7.5
"""Of an 8 GB card. Under a higher cap nothing makes the allocator give back what it keeps: the run capped at 7.5 decides."""


def memory(arguments: argparse.Namespace, bench: Bench) -> None:
    """For each cap the tier that `auto` chooses on a card with that much free, or the tier that was named."""
    for cap in arguments.cap:
        figures: dict[str, Any] = {"cap_gigabytes": cap}
        try:
            plan = planned(cap, arguments.tier or "auto", bench)
            figures |= {"tier": plan.policy, "estimated_peak_gigabytes": plan.estimate.peak(1024, 1024) / GIGABYTE}
            limit(cap, bench.device)
            of_plan(plan, arguments.sizes, bench, figures)
        except (FarmError, RuntimeError) as error:
            report(figures | {"failed": str(error)})
        free_device()


def of_plan(plan: MemoryPlan, sizes: list[int], bench: Bench, figures: dict[str, Any]) -> None:
    """One engine: the peak of loading and warming up, then of one picture of each size."""
    reset_peak(bench.device)
    engine = LocalEngine(bench.open(plan.policy, token_budget=plan.token_budget, capacity=1))
    report(figures | {"loading": True} | peak(bench.device))
    try:
        for side in sizes:
            reset_peak(bench.device)
            (seconds,) = engine.render(make_requests(side, 1, f"m{side}"), 1)
            report(figures | {"size": side, "first_image_seconds": seconds} | peak(bench.device))
    finally:
        engine.stop()


def planned(cap: float, policy: str, bench: Bench) -> MemoryPlan:
    """The farm's own choice; RenderError where nothing fits."""
    card = replace(bench.machine(), free_bytes=int(cap * GIGABYTE))
    return choose(row(), read_sizes(bench.weights, row()), "bfloat16", card, policy)


def limit(cap: float, device: torch.device) -> None:
    """What this process may take of the card from now on."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(cap * GIGABYTE / total, 1.0), device)


def reset_peak(device: torch.device) -> None:
    """What the allocator keeps for later is given back first, or it would count."""
    free_device()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> dict[str, float | bool]:
    """Since the reset; 0 on a CPU. `peak` is what the process took from the card, `in_use` what of it held tensors."""
    is_cuda = device.type == "cuda"
    reserved = torch.cuda.max_memory_reserved(device) / GIGABYTE if is_cuda else 0.0
    in_use = torch.cuda.max_memory_allocated(device) / GIGABYTE if is_cuda else 0.0
    return {
        "peak_gigabytes": reserved,
        "in_use_gigabytes": in_use,
        "within_goal_of_8_gb_cards": reserved <= GOAL_PEAK_GB,
    }
