"""Queries, keys and values as one product: exact enough, from the same memory, and only for plain layers."""

from __future__ import annotations

import logging

import pytest
import torch

from core.render import LoraRequest
from tests.compiling import needs_inductor
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel, Untyped
from tests.integration.tuning.conftest import CPU, MakeTinyModel, warmup_of
from worker.memory.apply import apply_tier, move_in_one_allocation
from worker.memory.packed_layers import Int8Linear
from worker.memory.quantize import quantize
from worker.memory.tiers import PackedForm, Tier
from worker.models.joined_projections import join_projections, separate_for_good
from worker.models.tiny_models.build import build_lora
from worker.pipelines.execution_mode import execution_mode
from worker.pipelines.tuning.joining import choose_joining, try_joining
from worker.pipelines.tuning.tune import Tuning

ATTENTIONS = 4
"""Of the tiny transformer: two layers and one refiner of each kind."""
GUIDED = {"guidance_scale": 3.0, "negative_prompt": "a dog " * 30}


def latents(tiny_model: TinyModel, **options: object) -> torch.Tensor:
    """Return the latents after three steps, alone in each pass."""
    request = a_request(1, "a cat", 80, 3, **options)
    found: torch.Tensor = tiny_model.alone(request).latents[0]
    return found


def is_joined(transformer: Untyped) -> bool:
    return transformer.layers[0].attention.processor.joined is not None


@pytest.mark.parametrize(("dtype", "worst"), [("float32", 2e-5), ("bfloat16", 0.1)])
@pytest.mark.parametrize("options", [{}, GUIDED])
def test_one_product_renders_the_same_and_strict_requests_to_the_bit(
    dtype: str, worst: float, options: dict[str, object], make_tiny_model: MakeTinyModel
) -> None:
    tiny_model = make_tiny_model(dtype=dtype)
    expected = tiny_model.expected(a_request(1, "a cat", 80, 3, **options), "latent")
    assert torch.equal(latents(tiny_model, **options), expected)
    assert join_projections(tiny_model.pipeline.transformer) == ATTENTIONS
    assert (latents(tiny_model, **options) - expected).abs().max() < worst
    assert torch.equal(latents(tiny_model, strict=True, **options), expected)
    separate_for_good(tiny_model.pipeline.transformer)
    assert torch.equal(latents(tiny_model, **options), expected)


def test_it_is_used(make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model()
    transformer = tiny_model.pipeline.transformer
    join_projections(transformer)
    called: list[bool] = []
    transformer.layers[0].attention.to_q.register_forward_hook(lambda *_: called.append(True))
    latents(tiny_model)
    assert not called
    latents(tiny_model, strict=True)
    assert called


@pytest.mark.parametrize("in_one_allocation", [True, False])
def test_the_weights_are_in_memory_once(in_one_allocation: bool, make_tiny_model: MakeTinyModel) -> None:
    """On a GPU all weights are in one allocation, in which these follow each other: then nothing moves."""
    tiny_model = make_tiny_model()
    transformer = tiny_model.pipeline.transformer
    expected = latents(tiny_model)
    if in_one_allocation:
        move_in_one_allocation(transformer, CPU)
    before = transformer.layers[0].attention.to_v.weight.data_ptr()
    join_projections(transformer)
    attention = transformer.layers[0].attention
    joined = attention.processor.joined.weight
    layers = (attention.to_q, attention.to_k, attention.to_v)
    assert (attention.to_v.weight.data_ptr() == before) is in_one_allocation
    assert [layer.weight.data_ptr() - joined.data_ptr() for layer in layers] == [
        index * attention.to_q.weight.nbytes for index in range(3)
    ]
    assert torch.equal(joined, torch.cat([layer.weight for layer in layers]))
    assert (latents(tiny_model) - expected).abs().max() < 0.1


def test_adapters_are_applied_to_their_own_layers(make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model(dtype="float32")
    tiny_model.loras.mkdir(exist_ok=True)
    build_lora(tiny_model.stock, tiny_model.loras / "ink").rename(tiny_model.loras / "ink.safetensors")
    ink = (LoraRequest(name="ink", scale=1.0),)
    bare, expected = latents(tiny_model), latents(tiny_model, loras=ink)
    assert not torch.equal(bare, expected)
    join_projections(tiny_model.pipeline.transformer)
    joined = latents(tiny_model)
    assert torch.equal(latents(tiny_model, loras=ink), expected)
    assert torch.equal(latents(tiny_model), joined)


@pytest.mark.parametrize("form", ["int8", "int4", "fp8"])
def test_packed_layers_stay_apart(form: PackedForm, make_tiny_model: MakeTinyModel) -> None:
    transformer = quantize(make_tiny_model().pipeline.transformer, form, torch.bfloat16)
    assert join_projections(transformer) == 0


@pytest.mark.parametrize(
    "tier", [Tier("s", "", "cpu", denoiser_place="streamed"), Tier("f", "", "cpu", denoiser="fp8-cast")]
)
def test_streamed_and_cast_layers_stay_apart(tier: Tier, make_tiny_model: MakeTinyModel) -> None:
    pipeline = make_tiny_model().pipeline
    apply_tier(pipeline, tier, CPU, lambda _: None)
    assert join_projections(pipeline.transformer) == 0


def test_other_models_have_nothing_to_join(make_tiny_model: MakeTinyModel) -> None:
    assert join_projections(make_tiny_model("sd-turbo").pipeline.unet) == 0


def test_it_is_kept_only_where_it_gains(make_tiny_model: MakeTinyModel, caplog: pytest.LogCaptureFixture) -> None:
    tiny_model = make_tiny_model()
    transformer = tiny_model.pipeline.transformer
    with caplog.at_level(logging.INFO, "worker"):
        assert not choose_joining(transformer, warmup_of(tiny_model)), "nothing is tried on a CPU"
        assert not try_joining(transformer, warmup_of(tiny_model), min_gain=2.0)
        assert not is_joined(transformer)
        assert try_joining(transformer, warmup_of(tiny_model), min_gain=-1000.0)
    assert "stay three products" in caplog.text and "are one product" in caplog.text
    assert is_joined(transformer)
    assert Tuning("native", "false", "default", "bfloat16", True).versions()["projections"] == "joined"


def test_a_product_that_fails_is_given_up(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such kernel")

    tiny_model = make_tiny_model()
    monkeypatch.setattr("worker.models.joined_projections.JoinedProjections.heads", refuse)
    assert not try_joining(tiny_model.pipeline.transformer, warmup_of(tiny_model), min_gain=-1000.0)
    assert "does not work here: no such kernel" in caplog.text
    warmup_of(tiny_model).render([warmup_of(tiny_model).usual()])


def test_strictness_ends_with_the_step(make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model()
    attention = tiny_model.pipeline.transformer.layers[0].attention
    join_projections(tiny_model.pipeline.transformer)
    with execution_mode(tiny_model.pipeline, a_request(1, strict=True)):
        assert not attention.processor.joined.suit(attention)
    assert attention.processor.joined.suit(attention)
    attention.to_k = Int8Linear(64, 64, bias=False, dtype=torch.bfloat16)
    assert not attention.processor.joined.suit(attention)


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script:DeprecationWarning", "ignore:Torchinductor does not support:UserWarning"
)
@needs_inductor
def test_joined_blocks_compile_into_one_graph(make_tiny_model: MakeTinyModel) -> None:
    transformer = make_tiny_model(dtype="float32").pipeline.transformer.requires_grad_(False)
    block: torch.nn.Module = transformer.layers[0]
    positions = torch.view_as_real(torch.polar(torch.ones(1, 40, 16), torch.rand(1, 40, 16)))
    hidden, conditioning = torch.randn(1, 40, 64), torch.randn(1, 64)
    move_in_one_allocation(transformer, CPU)
    with torch.no_grad():
        expected = block(hidden, None, positions, conditioning)
        join_projections(transformer)
        found = torch.compile(block, fullgraph=True)(hidden, None, positions, conditioning)
    assert (found - expected).abs().max() < 1e-4
