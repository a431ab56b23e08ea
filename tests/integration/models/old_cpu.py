"""Render on a CPU that multiplies bf16 slowly, and compare with fp32; as a program, held to AVX2 by its environment."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import nn

from core.catalogue import ModelPaths, load_catalogue
from tests.integration.models.rendering import render_small
from worker.device import cpu_probe
from worker.device.cpu_probe import CpuSpeed
from worker.memory import cpu_form
from worker.memory.packed_layers import Int8Linear
from worker.models.load import LoadedPipeline, LoadRequest, load_pipeline

FP32_CPU = CpuSpeed(20, 150, 120)
MODEL = "z-image-turbo"


def load_on(speed: CpuSpeed, model_paths: ModelPaths, policy: str = "auto", model_id: str = MODEL) -> LoadedPipeline:
    """Load a tiny model as if it were large and the CPU had these speeds."""
    with patch.object(cpu_form, "MIN_PARAMETERS", 1), patch.object(cpu_probe, "measure", lambda: speed):
        return load_pipeline(load_catalogue().get(model_id), LoadRequest(model_paths, "cpu", policy), lambda *_: None)


def fp32_of(folder: Path) -> DiffusionPipeline:
    """Return the stock pipeline in fp32, with its weights rounded to bf16."""
    pipeline = DiffusionPipeline.from_pretrained(str(folder), dtype=torch.bfloat16).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return without_gradients(pipeline)


def unpacked_in_fp32(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    """Return a copy of the pipeline whose 8-bit layers are ordinary ones in fp32."""
    found = copy.deepcopy(pipeline)
    for part in (found.transformer, found.text_encoder):
        for path, layer in list(part.named_modules()):
            if isinstance(layer, Int8Linear):
                plain = nn.Linear(layer.in_features, layer.out_features, bias=False)
                plain.weight.data = layer.weight.float() * layer.weight_scale.float()[:, None]
                part.set_submodule(path, plain)
    return without_gradients(found)


def without_gradients(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    """Clear the gradient flags, by which torch chooses between kernels."""
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
    return pipeline


def main(folder: Path, models: Path) -> None:
    torch.set_num_threads(1)
    model_paths = ModelPaths(models, {MODEL: folder})
    whole, packed = (load_on(FP32_CPU, model_paths, policy) for policy in ("cpu", "cpu-int8"))
    expected = render_small(unpacked_in_fp32(packed.pipeline))
    chosen = cpu_form.forms_by_speed(load_catalogue().get(MODEL), cpu_probe.measure(0.1))[0]
    found = {
        "key": cpu_probe.machine_key(),
        "chosen": [chosen.stored, chosen.compute],
        "dtypes": [str(each.dtype) for each in (whole, packed)],
        "whole_equals_fp32": np.array_equal(render_small(without_gradients(whole.pipeline)), render_small(fp32_of(folder))),
        "int8_distance": float(np.abs(render_small(packed.pipeline) - expected).max()) * 255,
        "int8_sums_are_exact": cpu_probe.int8_sums_are_exact(),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
