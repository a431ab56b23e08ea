"""Memory tiers on the CPU: 8 and 4 bits, fp8 and group offloading save memory and hardly change the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.catalogue import ModelPaths
from core.errors import RenderError
from tests.integration.models.conftest import Load, catalogue_row
from tests.integration.models.rendering import render, render_small
from worker.memory.apply import apply_tier
from worker.memory.packed_layers import Int4Linear
from worker.memory.quantize import quantize
from worker.memory.tiers import Tier
from worker.models.load import LoadRequest, load_pipeline
from worker.models.tier_reader import TierReader
from worker.models.tiny_models.build import build_lora

GREY_LEVEL = 1 / 255
CPU = torch.device("cpu")


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean difference in grey levels."""
    return float(np.abs(first - second).mean()) / GREY_LEVEL


def bytes_of(module: torch.nn.Module) -> int:
    """Return the bytes of parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def test_sensitive_layers_are_not_quantised(load: Load) -> None:
    transformer = quantize(load("z-image-turbo").pipeline.transformer, "int8", torch.bfloat16)
    kinds = {name: type(module).__name__ for name, module in transformer.named_modules()}
    assert kinds["layers.0.attention.to_q"] == "Int8Linear"
    assert kinds["layers.0.feed_forward.w1"] == "Int8Linear"
    assert all(kind != "Int8Linear" for name, kind in kinds.items() if "embed" in name or "final" in name)


def test_eight_bits_on_the_cpu(load: Load) -> None:
    whole, packed = load("z-image-turbo", "cpu"), load("z-image-turbo", "cpu-int8")
    assert packed.plan.policy == "cpu-int8"
    blocks = [loaded.pipeline.transformer.layers[0].feed_forward for loaded in (whole, packed)]
    assert bytes_of(blocks[1]) < 0.55 * bytes_of(blocks[0])
    assert 0 < distance(render_small(packed.pipeline), render_small(whole.pipeline)) < 2


def test_the_estimate_of_weights_matches_the_loaded_ones(load: Load) -> None:
    for policy in ("cpu", "cpu-int8"):
        loaded = load("z-image-turbo", policy)
        for name, expected in loaded.plan.estimate.device.items():
            assert bytes_of(getattr(loaded.pipeline, name)) == pytest.approx(expected, rel=0.05)


def test_a_packed_form_is_made_once_and_reads_back_to_the_bit(load: Load, model_paths: ModelPaths) -> None:
    first = load("z-image-turbo", "cpu-int8")
    file = model_paths.models_dir / "z-image-turbo" / "transformer-int8-bfloat16" / "packed.safetensors"
    made = file.stat().st_mtime_ns
    events: list[str] = []
    request = LoadRequest(model_paths, "cpu", "cpu-int8")
    second = load_pipeline(catalogue_row("z-image-turbo"), request, lambda stage, _: events.append(stage))
    assert "converting" not in events
    assert file.stat().st_mtime_ns == made
    fresh, again = (loaded.pipeline.transformer.state_dict() for loaded in (first, second))
    assert fresh.keys() == again.keys()
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)


def test_reading_packed_weights_equals_packing_them(load: Load) -> None:
    read = load("z-image-turbo", "cpu-int8").pipeline
    packed = load("z-image-turbo", "cpu").pipeline
    for name in ("transformer", "text_encoder"):
        quantize(getattr(packed, name), "int8", torch.bfloat16)
    assert np.array_equal(render_small(read), render_small(packed))


def test_other_weights_get_another_packed_form(
    load: Load, model_paths: ModelPaths, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    load("z-image-turbo", "cpu-int8")
    from worker.models.tiny_models import build_tiny_model

    other = build_tiny_model("z-image-turbo", tmp_path / "other", seed=7)
    elsewhere = ModelPaths(model_paths.models_dir, {**tiny_models, "z-image-turbo": other}, model_paths.hub_cache)
    events: list[str] = []
    request = LoadRequest(elsewhere, "cpu", "cpu-int8")
    load_pipeline(catalogue_row("z-image-turbo"), request, lambda stage, _: events.append(stage))
    assert "converting" in events


def test_four_bits_from_disk(model_paths: ModelPaths, tiny_models: dict[str, Path], load: Load) -> None:
    tier = Tier("int4-on-cpu", "", "cpu", denoiser="int4")
    reader = TierReader("z-image-turbo", tier, torch.bfloat16, model_paths, lambda _: None)
    whole = load("z-image-turbo").pipeline
    expected = render_small(whole)
    folder = tiny_models["z-image-turbo"] / "transformer"
    whole.transformer = reader.load(folder, "diffusers", "ZImageTransformer2DModel")
    packed = whole.transformer.get_submodule("layers.0.attention.to_q")
    assert isinstance(packed, Int4Linear)
    assert packed.weight.dtype == torch.uint8
    assert 0 < distance(render_small(whole), expected) < 8  # of other scales: 20


def test_a_lora_works_on_eight_bits(load: Load, tmp_path: Path) -> None:
    file = build_lora(load("z-image-turbo").pipeline, tmp_path / "lora")
    pipeline = load("z-image-turbo", "cpu-int8").pipeline
    bare = render_small(pipeline)
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="tiny")
    assert distance(render_small(pipeline), bare) > 0.1
    pipeline.unload_lora_weights()
    assert np.array_equal(render_small(pipeline), bare)


def test_fp8_layers(load: Load) -> None:
    pipeline = load("z-image-turbo").pipeline
    expected, before = render_small(pipeline), bytes_of(pipeline.transformer)
    apply_tier(pipeline, Tier("fp8-on-cpu", "", "cpu", denoiser="fp8-cast"), CPU, lambda _: None)
    assert pipeline.transformer.get_parameter("layers.0.attention.to_q.weight").dtype == torch.float8_e4m3fn
    assert bytes_of(pipeline.transformer) < 0.8 * before
    assert 0 < distance(render_small(pipeline), expected) < 10


def test_a_lora_works_on_streamed_fp8_layers(load: Load, tmp_path: Path) -> None:
    file = build_lora(load("z-image-turbo").pipeline, tmp_path / "lora")
    pipeline = load("z-image-turbo").pipeline
    tier = Tier("both-on-cpu", "", "cpu", denoiser="fp8-cast", denoiser_place="streamed")
    apply_tier(pipeline, tier, CPU, lambda _: None)
    bare = render_small(pipeline)
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="tiny")
    assert distance(render_small(pipeline), bare) > 0.1
    pipeline.unload_lora_weights()
    assert np.array_equal(render_small(pipeline), bare)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("model_id", ["z-image-turbo", "sd-turbo", "sdxl-turbo", "flux2-klein-4b"])
def test_streaming_gives_the_same_image(model_id: str, load: Load) -> None:
    pipeline = load(model_id).pipeline
    expected = render(pipeline)
    tier = Tier("streamed-on-cpu", "", "cpu", denoiser_place="streamed", text_place="streamed", tiled_vae=True)
    apply_tier(pipeline, tier, CPU, lambda _: None)
    denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    assert any(hasattr(module, "_diffusers_hook") for module in denoiser.modules())
    assert np.array_equal(render(pipeline), expected)


def test_fp8_combined_with_streaming(load: Load) -> None:
    pipeline = load("z-image-turbo").pipeline
    expected = render_small(pipeline)
    tier = Tier("both-on-cpu", "", "cpu", denoiser="fp8-cast", denoiser_place="streamed", text_place="cpu")
    apply_tier(pipeline, tier, CPU, lambda _: None)
    assert 0 < distance(render_small(pipeline), expected) < 10


def test_tiles_are_used_above_512_pixels(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the decoder's calls with one that enlarges its input: the real one takes half a minute for them."""
    pipeline = load("z-image-turbo").pipeline
    apply_tier(pipeline, Tier("tiled", "", "cpu", tiled_vae=True), CPU, lambda _: None)
    calls: list[tuple[int, ...]] = []

    def enlarge(latents: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(latents.shape))
        return torch.nn.functional.interpolate(latents[:, :3], scale_factor=8)

    monkeypatch.setattr(pipeline.vae.decoder, "forward", enlarge)
    for side, tiles in ((64, 1), (128, 9)):
        calls.clear()
        with torch.no_grad():
            image = pipeline.vae.decode(torch.zeros(1, 16, side, side, dtype=pipeline.vae.dtype)).sample
        assert image.shape == (1, 3, 8 * side, 8 * side)
        assert len(calls) == tiles
        assert max(max(shape[2:]) for shape in calls) <= 64


def test_a_policy_for_cuda_is_refused_on_a_cpu(load: Load) -> None:
    with pytest.raises(RenderError, match="one of: cpu, cpu-int8"):
        load("z-image-turbo", "resident")
