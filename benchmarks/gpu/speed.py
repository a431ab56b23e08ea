"""Measure images per second: stock diffusers, the engine with one request in flight, the engine under load."""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch
from diffusers import DiffusionPipeline

from benchmarks.gpu.bench import Bench, no_progress
from benchmarks.gpu.local_engine import LocalEngine
from benchmarks.gpu.report import report
from benchmarks.gpu.requests import EQUAL_LENGTHS, MIXED_LENGTHS, STEPS, make_requests, rate, timed
from benchmarks.gpu.weights import measured_model
from worker.device.torch_device import free_cached_memory
from worker.models.load import LoadRequest, load_pipeline

TFLOP_PER_IMAGE = {512: 103.0, 768: 237.0, 1024: 445.0}
"""For the transformer alone, 8 steps without guidance."""


def speed(arguments: argparse.Namespace, bench: Bench) -> None:
    """Measure stock diffusers, all on the device in bf16, then the engine in the requested tier."""
    stock = {} if arguments.no_stock else stock_by_size(arguments, bench)
    started = time.perf_counter()
    engine = LocalEngine(partial(bench.open, arguments.tier or "auto"))
    info = engine.opened.info
    done = {"tier": info.memory_policy, "attention_backend": info.attention_backend, "versions": info.versions}
    report({"open_and_warm_up_seconds": time.perf_counter() - started, **done})
    for side in arguments.sizes:
        report(
            {"tier": info.memory_policy, "compiled_blocks": info.versions["compiled_blocks"], "size": side}
            | measure_size(engine, side, arguments, stock.get(side))
        )
    engine.stop()


def measure_size(engine: LocalEngine, side: int, arguments: argparse.Namespace, stock: float | None) -> dict[str, float]:
    """Return the figures of one size; `stock` is seconds an image."""
    alone = (
        timed(lambda label: engine.render(make_requests(side, arguments.count, f"a{side}-{label}"), 1)[-1]) / arguments.count
    )
    equal, mixed = (
        images_per_second_under_load(engine, side, arguments.in_flight, clauses)
        for clauses in (EQUAL_LENGTHS, MIXED_LENGTHS)
    )
    figures = {
        "engine_alone_seconds_per_image": alone,
        "engine_loaded_images_per_second": equal,
        "engine_loaded_images_per_second_mixed_captions": mixed,
        "floor_seconds_per_image": TFLOP_PER_IMAGE.get(side, 0.0) / arguments.tflops,
    }
    if not stock:
        return figures
    ratios = {"stock_seconds_per_image": stock, "ratio_to_stock_alone": stock / alone}
    return figures | ratios | {"ratio_to_stock_loaded": stock * equal, "ratio_to_stock_loaded_mixed": stock * mixed}


def images_per_second_under_load(engine: LocalEngine, side: int, in_flight: int, clauses: tuple[int, ...]) -> float:
    """Return images a second under continuous load, after a first round through all caption lengths."""
    label = f"l{side}-{len(clauses)}"
    engine.render(make_requests(side, len(clauses), f"{label}w", clauses), in_flight)
    return rate(engine.render(make_requests(side, 3 * in_flight, label, clauses), in_flight), in_flight)


def stock_by_size(arguments: argparse.Namespace, bench: Bench) -> dict[int, float]:
    """Return seconds an image of diffusers' pipeline, by size; its memory is freed afterwards."""
    policy = next(tier.name for tier in bench.tiers() if tier.denoiser == tier.text == "native")
    pipeline = load_pipeline(
        measured_model(), LoadRequest(bench.model_paths, str(bench.device), policy), no_progress
    ).pipeline
    found = {}
    for side in arguments.sizes:
        found[side] = timed(partial(stock_seconds, pipeline, side, arguments.count)) / arguments.count
        report({"size": side, "stock_seconds_per_image": found[side]})
    del pipeline
    free_cached_memory()
    return found


def stock_seconds(pipeline: DiffusionPipeline, side: int, count: int, label: str) -> float:
    """Return the seconds for all images, rendered one after another."""
    started = time.perf_counter()
    for request in make_requests(side, count, f"s{label}"):
        pipeline(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=STEPS,
            guidance_scale=0.0,
            generator=torch.Generator("cpu").manual_seed(request.seed),
        ).images[0].tobytes()
    return time.perf_counter() - started
