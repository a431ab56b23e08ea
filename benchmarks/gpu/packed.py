"""Measure the transformer from packed files, GGUF and fp8: seconds to load, seconds a step, peak memory."""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from benchmarks.gguf import empty_transformer, write_fp8, write_gguf
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.memory import peak, reset_peak
from benchmarks.gpu.report import report
from core.catalogue.weight_file import WeightFile
from worker.device.torch_device import free_cached_memory
from worker.memory.apply import move_in_one_allocation
from worker.models.single_files.fp8 import load_fp8
from worker.models.single_files.gguf import load_gguf

STEPS = 4
CAPTION_TOKENS = 128


def packed(arguments: argparse.Namespace, bench: Bench) -> None:
    """Write each file from random weights, load it and run steps of each size; delete it before the next."""
    for form, write, load in (("Q8_0", write_gguf, load_gguf), ("fp8", write_fp8, load_fp8)):
        path = bench.weights.parent / ("z_image.gguf" if form == "Q8_0" else "z_image_fp8.safetensors")
        write(path, empty_transformer(bench.weights))
        container: Any = "gguf" if form == "Q8_0" else "safetensors"
        file = WeightFile(path, "component", container, ("z-image",), ("transformer",), form, path.stat().st_size, "")
        reset_peak(bench.device)
        started = time.perf_counter()
        model = load("transformer", file, bench.weights, torch.bfloat16)
        move_in_one_allocation(model, bench.device)
        report({"form": form, "load_seconds": time.perf_counter() - started, "weights_gigabytes": peak(bench.device)[1]})
        for side in arguments.sizes:
            reset_peak(bench.device)
            figures = {"form": form, "size": side, "step_seconds": step_seconds(model, side, bench.device)}
            report(figures | dict(zip(("reserved_gigabytes", "in_use_gigabytes"), peak(bench.device), strict=True)))
        del model
        free_cached_memory()
        path.unlink()


def step_seconds(model: Any, side: int, device: torch.device) -> float:  # noqa: ANN401 - a diffusers model
    """Return the seconds of one step, after a first one."""
    latents = torch.randn(16, 1, side // 8, side // 8, dtype=torch.bfloat16, device=device)
    caption = torch.randn(CAPTION_TOKENS, model.config.cap_feat_dim, dtype=torch.bfloat16, device=device)
    started = 0.0
    with torch.no_grad():
        for step in range(STEPS + 1):
            if step == 1:
                started = time.perf_counter()
            predicted = model([latents], torch.tensor([step / STEPS], device=device), [caption], return_dict=False)[0]
            assert torch.isfinite(predicted[0]).all().item()  # Waits for the device.
    return (time.perf_counter() - started) / STEPS
