"""Measure the seconds to load a model, by the form of its weights on disk."""

from __future__ import annotations

import argparse
import time
from functools import partial

from benchmarks.gpu.bench import Bench, no_progress
from benchmarks.gpu.local_engine import LocalEngine
from benchmarks.gpu.report import report
from benchmarks.gpu.requests import make_requests, timed
from benchmarks.gpu.weights import measured_model
from worker.device.machine import GIGABYTE
from worker.device.torch_device import free_cached_memory
from worker.models.load import LoadRequest, load_pipeline


def load(arguments: argparse.Namespace, bench: Bench) -> None:
    """Convert, map, use and delete each form before the next. The files are in the page cache: this run wrote them."""
    for tier in [arguments.tier] if arguments.tier else best_tier_of_each_form(bench):
        figures = {"tier": tier, "first_load_seconds": first_load(tier, bench)}
        figures |= later_load(tier, arguments, bench)
        report(figures | {"converted_gigabytes": bench.delete_converted() / GIGABYTE})


def best_tier_of_each_form(bench: Bench) -> list[str]:
    """Return the best tier for each form of the transformer."""
    best: dict[str, str] = {}
    for tier in bench.tiers():
        best.setdefault(tier.denoiser, tier.name)
    return list(best.values())


def first_load(tier: str, bench: Bench) -> float:
    """Return the seconds of a load that converts."""
    seconds = load_pipeline(
        measured_model(), LoadRequest(bench.model_paths, str(bench.device), tier), no_progress
    ).load_seconds
    free_cached_memory()
    return seconds


def later_load(tier: str, arguments: argparse.Namespace, bench: Bench) -> dict[str, float | bool]:
    """Open the engine over the converted form; the time after the stage `done` is the warm-up."""
    started, stages = time.perf_counter(), {}

    def note(stage: str, _fraction: float | None) -> None:
        stages[stage] = time.perf_counter() - started

    engine = LocalEngine(partial(bench.open, tier, note))
    ready = time.perf_counter() - started
    side = arguments.sizes[0]
    first = engine.render(make_requests(side, 1, "f"), 1)[-1]
    later = timed(lambda label: engine.render(make_requests(side, 1, f"l{label}"), 1)[-1])
    engine.stop()
    free_cached_memory()
    return {
        "later_load_seconds": stages["done"],
        "converted_once": "converting" not in stages,
        "warm_up_seconds": ready - stages["done"],
        "size": side,
        "first_image_seconds": first,
        "later_image_seconds": later,
    }
