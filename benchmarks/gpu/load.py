"""Seconds to bring a model up, by the form of its weights on disk."""

from __future__ import annotations

import argparse
import time
from functools import partial

from benchmarks.gpu.bench import Bench, unheard
from benchmarks.gpu.local_engine import LocalEngine, free_device
from benchmarks.gpu.report import report
from benchmarks.gpu.requests import make_requests, timed
from benchmarks.gpu.weights import row
from worker.device.machine import GIGABYTE
from worker.models.load import LoadRequest, load_pipeline


def load(arguments: argparse.Namespace, bench: Bench) -> None:
    """Each form is converted, mapped, used and deleted before the next. The files are warm: this run has written them."""
    for tier in [arguments.tier] if arguments.tier else one_tier_a_form(bench):
        figures = {"tier": tier, "first_load_seconds": first_load(tier, bench)}
        figures |= later_load(tier, arguments, bench)
        report(figures | {"converted_gigabytes": bench.forget_forms() / GIGABYTE})


def one_tier_a_form(bench: Bench) -> list[str]:
    """The best tier for each form that the transformer is kept in."""
    best: dict[str, str] = {}
    for tier in bench.tiers():
        best.setdefault(tier.denoiser, tier.name)
    return list(best.values())


def first_load(tier: str, bench: Bench) -> float:
    """With the conversion."""
    seconds = load_pipeline(row(), LoadRequest(bench.model_paths, str(bench.device), tier), unheard).load_seconds
    free_device()
    return seconds


def later_load(tier: str, arguments: argparse.Namespace, bench: Bench) -> dict[str, float | bool]:
    """The engine over the form that is there now; what follows the stage `done` is the warm-up."""
    began, heard = time.perf_counter(), {}

    def note(stage: str, _fraction: float | None) -> None:
        heard[stage] = time.perf_counter() - began

    engine = LocalEngine(partial(bench.open, tier, note))
    ready = time.perf_counter() - began
    side = arguments.sizes[0]
    first = engine.render(make_requests(side, 1, "f"), 1)[-1]
    later = timed(lambda label: engine.render(make_requests(side, 1, f"l{label}"), 1)[-1])
    engine.stop()
    free_device()
    return {
        "later_load_seconds": heard["done"],
        "converted_once": "converting" not in heard,
        "warm_up_seconds": ready - heard["done"],
        "size": side,
        "first_image_seconds": first,
        "later_image_seconds": later,
    }
