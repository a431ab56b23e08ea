"""Weights in bf16 or 8 bits and products in fp32, for CPUs that multiply bf16 slowly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from core.catalogue import ModelPaths
from tests.integration.models.conftest import Load
from tests.integration.models.old_cpu import FP32_CPU, MODEL, fp32_of, load_on, unpacked_in_fp32, without_gradients
from tests.integration.models.rendering import render_small
from tests.integration.models.test_tiers import bytes_of
from tests.servers.farm import clean_environment
from worker.device.cpu_probe import CpuSpeed
from worker.memory.wide_layers import WideEmbedding, WideLinear
from worker.models.tiny_models.build import build_lora


def test_the_image_equals_that_of_fp32_to_the_bit(model_paths: ModelPaths, tiny_models: dict[str, Path]) -> None:
    loaded = load_on(FP32_CPU, model_paths)
    assert (loaded.plan.policy, loaded.dtype) == ("cpu", torch.float32)
    assert loaded.versions["weights_dtype"] == "bfloat16"
    transformer, text_encoder = loaded.pipeline.transformer, loaded.pipeline.text_encoder
    assert isinstance(transformer.layers[0].feed_forward.w1, WideLinear)
    assert isinstance(text_encoder.embed_tokens, WideEmbedding)
    assert {transformer.dtype, text_encoder.dtype, loaded.pipeline.vae.dtype} == {torch.float32}
    assert np.array_equal(render_small(without_gradients(loaded.pipeline)), render_small(fp32_of(tiny_models[MODEL])))


def test_the_matrices_stay_as_they_were_loaded(model_paths: ModelPaths, load: Load) -> None:
    wide, narrow = load_on(FP32_CPU, model_paths), load(MODEL)
    for name in ("transformer", "text_encoder"):
        blocks = [loaded.pipeline.components[name].layers[0] for loaded in (wide, narrow)]
        assert bytes_of(blocks[0]) < 1.1 * bytes_of(blocks[1])
    matrix, original = (each.pipeline.transformer.layers[0].attention.to_q.weight for each in (wide, narrow))
    assert torch.equal(matrix.view(torch.bfloat16), original)
    for name, expected in wide.plan.estimate.device.items():
        assert bytes_of(wide.pipeline.components[name]) == pytest.approx(expected, rel=0.15)


def test_a_cpu_with_bf16_units_computes_in_bf16(model_paths: ModelPaths) -> None:
    loaded = load_on(CpuSpeed(400, 156, 300), model_paths)
    assert loaded.dtype == torch.bfloat16 and "weights_dtype" not in loaded.versions
    assert loaded.pipeline.transformer.layers[0].feed_forward.w1.weight.dtype == torch.bfloat16


def test_eight_bits_are_unpacked_to_fp32_from_the_same_copy(model_paths: ModelPaths, load: Load) -> None:
    load(MODEL, "cpu-int8")
    folder = model_paths.models_dir / MODEL
    copies = sorted(path.name for path in folder.iterdir())
    loaded = load_on(FP32_CPU, model_paths, "cpu-int8")
    assert loaded.dtype == torch.float32
    assert sorted(path.name for path in folder.iterdir()) == copies
    expected = render_small(unpacked_in_fp32(loaded.pipeline))
    assert np.abs(render_small(loaded.pipeline) - expected).max() * 255 < 0.1


def test_a_lora_works_on_widened_layers(model_paths: ModelPaths, load: Load, tmp_path: Path) -> None:
    file = build_lora(load(MODEL).pipeline, tmp_path / "lora")
    pipeline = load_on(FP32_CPU, model_paths).pipeline
    reference = fp32_of(model_paths.folders[MODEL])
    bare = render_small(pipeline)
    for each in (pipeline, reference):
        each.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="tiny")
    changed = render_small(pipeline)
    assert np.abs(changed - bare).mean() * 255 > 0.1
    assert np.abs(changed - render_small(reference)).max() * 255 < 0.1
    pipeline.unload_lora_weights()
    assert np.array_equal(render_small(pipeline), bare)


def test_models_whose_weights_fp32_holds_exactly_are_not_rounded(model_paths: ModelPaths) -> None:
    """Stable Diffusion is published in fp16: rounding it to bf16 would lose three bits."""
    loaded = load_on(FP32_CPU, model_paths, model_id="sd-turbo")
    assert "weights_dtype" not in loaded.versions
    assert not any(isinstance(module, WideLinear) for module in loaded.pipeline.unet.modules())


def test_a_process_held_to_avx2_measures_itself_and_computes_the_same(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.models.old_cpu", str(tiny_models[MODEL]), str(tmp_path)],
        env=clean_environment(ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2", MKL_ENABLE_INSTRUCTIONS="AVX2"),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert "AVX2" in found["key"]
    assert found["chosen"] == ["bfloat16", "float32"]
    assert found["dtypes"] == ["torch.float32"] * 2
    assert found["whole_equals_fp32"]
    assert found["int8_distance"] < 0.1
