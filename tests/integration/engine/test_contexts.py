"""Step-invariant conditioning of Z-Image is cached, except where blocks are streamed to the device one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel
from worker.memory.apply import apply_tier
from worker.memory.tiers import Tier
from worker.models.z_image_transformer import Context, Prepare

CPU = torch.device("cpu")
STEPS = 4


@pytest.fixture
def calls(demo: TinyModel) -> list[str]:
    """Return the names of the modules that ran, one for each call."""
    names: list[str] = []
    for name in ("cap_embedder", "context_refiner.0", "noise_refiner.0"):
        module = demo.pipeline.transformer.get_submodule(name)
        module.register_forward_hook(lambda *_, name=name: names.append(name))
    return names


@pytest.fixture
def demo(models_dir: Path) -> TinyModel:
    """Return a model that is not shared, since the tests modify it."""
    torch.set_num_threads(1)
    return TinyModel("demo", models_dir, "float32")


def test_a_caption_is_refined_once_for_all_steps(demo: TinyModel, calls: list[str]) -> None:
    demo.alone(a_request(1, "a cat", 64, STEPS))
    assert [calls.count(name) for name in ("cap_embedder", "context_refiner.0", "noise_refiner.0")] == [1, 1, STEPS]


def test_a_late_request_computes_only_its_own_context(demo: TinyModel, calls: list[str]) -> None:
    first, late = (demo.start(a_request(index, "a cat", 64, STEPS)) for index in range(2))
    demo.family.step([first])
    for _ in range(2):
        demo.family.step([first, late])
    assert calls.count("context_refiner.0") == 2
    for sample in (first, late):
        while sample.step < sample.steps:
            demo.family.step([sample])
        assert (sample.latents[0] - demo.expected(sample.request, "latent")).abs().max() < 2e-4


@pytest.mark.parametrize("sizes", [[(96, 96), (128, 96)], [(64, 64), (128, 128)]])
def test_unequal_images_can_share_a_pass(demo: TinyModel, sizes: list[tuple[int, int]]) -> None:
    """Step two sizes of equal padded length, and two that need a mask."""
    requests = [a_request(index, "a cat", width=width, height=height) for index, (width, height) in enumerate(sizes)]
    samples = [demo.start(request) for request in requests]
    while running := [sample for sample in samples if sample.step < sample.steps]:
        demo.family.step(running)
    for request, sample in zip(requests, samples, strict=True):
        assert (sample.latents[0] - demo.expected(request, "latent")).abs().max() < 2e-4


@pytest.mark.parametrize("guidance", [1.0, 1.7])
def test_a_streamed_transformer_is_called_as_a_whole(demo: TinyModel, calls: list[str], guidance: float) -> None:
    request = a_request(1, "a cat", 64, STEPS, guidance_scale=guidance, negative_prompt="a dog " * 30)
    expected = demo.expected(request, "latent")
    tier = Tier("streamed-on-cpu", "", "cpu", denoiser_place="streamed")
    apply_tier(demo.pipeline, tier, CPU, lambda _: None)
    assert torch.equal(demo.alone(request).latents[0], expected)
    assert calls.count("context_refiner.0") == STEPS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rotary_embedding_by_real_numbers_is_bit_identical(models_dir: Path, dtype: str) -> None:
    made = TinyModel("demo", models_dir, dtype)
    request = a_request(1, "a cat", 80, STEPS, guidance_scale=3.0, negative_prompt="a dog " * 30)
    contexts_of = made.pipeline.transformer.contexts

    def with_real_positions(call: Prepare) -> list[Context]:
        return [replace(each, positions=torch.view_as_real(each.positions)) for each in contexts_of(call)]

    made.pipeline.transformer.contexts = with_real_positions
    assert torch.equal(made.alone(request).latents[0], made.expected(request, "latent"))


def test_the_transformer_takes_keyword_arguments(demo: TinyModel) -> None:
    transformer = demo.pipeline.transformer
    latents = [torch.randn(transformer.in_channels, 1, 8, 8)]
    captions = [torch.randn(7, transformer.config.cap_feat_dim)]
    with torch.no_grad():
        positional, keyword = (
            transformer(latents, torch.tensor([0.5]), captions, return_dict=False)[0][0],
            transformer(x=latents, t=torch.tensor([0.5]), cap_feats=captions, return_dict=False)[0][0],
        )
    assert torch.equal(positional, keyword)


def test_guidance_pairs_of_unequal_captions_are_exact(demo: TinyModel, calls: list[str]) -> None:
    request = a_request(1, "a cat", 80, STEPS, guidance_scale=3.0, negative_prompt="a dog " * 30)
    assert torch.equal(demo.alone(request).latents[0], demo.expected(request, "latent"))
    assert calls.count("context_refiner.0") == 1


def test_a_guidance_pair_that_does_not_fit_runs_in_two_passes(demo: TinyModel, caplog: pytest.LogCaptureFixture) -> None:
    request = a_request(1, "a cat", 64, 2, guidance_scale=3.0, negative_prompt="a dog " * 30)
    expected = demo.expected(request, "latent")
    passes: list[int] = []

    def refuse_pairs(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        passes.append(len(inputs[0]))
        if len(inputs[0]) > 1:
            raise MemoryError("planted")

    full = demo.pipeline.transformer.layers[0].register_forward_pre_hook(refuse_pairs)
    sample = demo.alone(request)
    assert (sample.latents[0] - expected).abs().max() < 2e-4
    assert passes == [2, 1, 1, 1, 1], "the pair is tried only once"
    assert "halves" in caplog.text
    assert sample.notes == {"guidance_pair": "in halves"}
    full.remove()
    strict = request.model_copy(update={"strict": True})
    assert torch.equal(demo.alone(strict).latents[0], expected), "strict pairs are tried as a whole at every step"


def test_several_images_that_do_not_fit_raise_for_the_loop(demo: TinyModel) -> None:
    samples = [demo.start(a_request(index, "a cat", 64, 2)) for index in range(2)]

    def refuse(*_: object) -> None:
        raise MemoryError("planted")

    demo.pipeline.transformer.layers[0].register_forward_pre_hook(refuse)
    with pytest.raises(MemoryError):
        demo.family.step(samples)
    with pytest.raises(MemoryError):
        demo.family.step(samples[:1])
