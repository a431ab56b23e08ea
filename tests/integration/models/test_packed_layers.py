"""8- and 4-bit layers: unpacked or multiplied in 8 bits, their output is close to the float layer's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_z_image import ZImageTransformerBlock
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from core.catalogue import ModelPaths
from tests.compiling import needs_inductor
from tests.integration.models.conftest import Load
from tests.integration.models.rendering import render_small
from worker.memory import packed_layers as packed_module
from worker.memory.packed_layers import Fp8Linear, Int4Linear, Int8Linear, PackedLinear
from worker.memory.quantize import packed_matmul_form, quantize, use_packed_matmul
from worker.memory.tiers import PackedForm, Tier
from worker.models.tier_reader import TierReader

PRODUCTS: list[tuple[type[PackedLinear], float]] = [(Int8Linear, 0.015), (Fp8Linear, 0.045)]
"""Layer class and bound of a product's error, relative to the exact output's norm, for normally distributed numbers."""


def packed_pair(cls: type[PackedLinear], dtype: torch.dtype) -> tuple[torch.nn.Linear, PackedLinear]:
    """Return a float layer, 256 to 96, and its packed counterpart."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(256, 96).to(dtype)
    packed = cls(256, 96, bias=True, dtype=dtype)
    packed.pack(linear.weight.data)
    packed.bias = torch.nn.Parameter(linear.bias.data, requires_grad=False)
    return linear, packed


def error(linear: torch.nn.Linear, packed: torch.nn.Module, inputs: torch.Tensor) -> float:
    """Return the error relative to the exact output's norm."""
    exact = linear.float()(inputs.float()).detach()
    return float((packed(inputs).float().detach() - exact).norm() / exact.norm())


@pytest.mark.parametrize(("cls", "worst"), [(Int8Linear, 0.006), (Fp8Linear, 0.032), (Int4Linear, 0.08)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_unpacked_layer_is_close_to_the_original(cls: type[PackedLinear], worst: float, dtype: torch.dtype) -> None:
    linear, packed = packed_pair(cls, dtype)
    assert error(linear, packed, torch.randn(7, 256, dtype=dtype)) < worst + (0.004 if dtype == torch.bfloat16 else 0)


@pytest.mark.parametrize(("cls", "worst"), PRODUCTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 256), (7, 256), (2, 33, 256)])
def test_a_product_is_close_to_the_original(
    cls: type[PackedLinear], worst: float, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    linear, packed = packed_pair(cls, dtype)
    use_packed_matmul(packed, True)
    inputs = torch.randn(*shape, dtype=dtype)
    assert packed(inputs).shape == (*shape[:-1], 96)
    assert packed(inputs).dtype == dtype
    found = error(linear, packed, inputs)
    use_packed_matmul(packed, False)
    assert error(linear, packed, inputs) < found < worst


@pytest.mark.parametrize("cls", [Int8Linear, Fp8Linear])
def test_many_rows_are_multiplied_in_chunks(cls: type[PackedLinear], monkeypatch: pytest.MonkeyPatch) -> None:
    _, layer = packed_pair(cls, torch.bfloat16)
    use_packed_matmul(layer, True)
    inputs = torch.randn(2, 50, 256, dtype=torch.bfloat16)
    whole = layer(inputs)
    monkeypatch.setattr(packed_module, "ROWS_AT_ONCE", 32)
    found = layer(inputs)
    assert (found.shape, found.dtype) == (whole.shape, whole.dtype)
    assert torch.equal(found, whole)


@pytest.mark.parametrize(("cls", "worst"), PRODUCTS)
def test_rows_of_very_different_sizes_keep_their_own_scale(cls: type[PackedLinear], worst: float) -> None:
    linear, packed = packed_pair(cls, torch.float32)
    linear.bias.data.zero_()
    packed.bias.data.zero_()
    use_packed_matmul(packed, True)
    inputs = torch.randn(3, 256) * torch.tensor([[1e-3], [1.0], [1e4]])
    for row in inputs:
        assert error(linear, packed, row[None]) < worst


@pytest.mark.parametrize("cls", [Int8Linear, Fp8Linear])
@pytest.mark.parametrize("on", [False, True])
def test_a_row_of_zeros_stays_zero(cls: type[PackedLinear], on: bool) -> None:
    packed = cls(64, 16, bias=False, dtype=torch.float32)
    packed.pack(torch.zeros(16, 64))
    use_packed_matmul(packed, on)
    assert torch.equal(packed(torch.ones(1, 64)), torch.zeros(1, 16))
    packed.pack(torch.ones(16, 64))
    assert torch.equal(packed(torch.zeros(1, 64)), torch.zeros(1, 16))


@pytest.mark.parametrize("cls", [Int8Linear, Fp8Linear])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_inputs_stay_visible(cls: type[PackedLinear], value: float) -> None:
    _, packed = packed_pair(cls, torch.float32)
    use_packed_matmul(packed, True)
    inputs = torch.randn(2, 256)
    inputs[0, 3] = value
    found = packed(inputs)
    assert not found[0].isfinite().any()
    assert found[1].isfinite().all()


@pytest.mark.parametrize("cls", [Int8Linear, Fp8Linear])
def test_state_survives_saving_and_loading_bit_for_bit(cls: type[PackedLinear], tmp_path: Path) -> None:
    _, packed = packed_pair(cls, torch.bfloat16)
    save_file(packed.state_dict(), tmp_path / "layer.safetensors")
    again = cls(256, 96, bias=True, dtype=torch.bfloat16)
    again.load_state_dict(load_file(tmp_path / "layer.safetensors"), assign=True)
    inputs = torch.randn(5, 256, dtype=torch.bfloat16)
    for on in (False, True):
        use_packed_matmul(packed, on)
        use_packed_matmul(again, on)
        assert torch.equal(again(inputs), packed(inputs))


@pytest.mark.parametrize("cls", [Int8Linear, Fp8Linear])
def test_a_lora_wraps_a_layer_that_multiplies(cls: type[PackedLinear]) -> None:
    _, packed = packed_pair(cls, torch.bfloat16)
    use_packed_matmul(packed, True)
    inputs = torch.randn(5, 256, dtype=torch.bfloat16)
    bare = packed(inputs)
    holder = torch.nn.ModuleDict({"layer": packed})
    inject_adapter_in_model(LoraConfig(r=4, target_modules=["layer"], init_lora_weights=False), holder)
    wrapped = holder["layer"]
    assert wrapped is not packed
    assert (wrapped(inputs) - bare).norm() > 0.1
    assert {p.dtype for n, p in holder.named_parameters() if "lora" in n} <= {torch.bfloat16, torch.float32}


def test_layers_with_unsuitable_sides_are_unpacked(load: Load) -> None:
    transformer = quantize(load("z-image-turbo").pipeline.transformer, "int8", torch.bfloat16)
    assert packed_matmul_form(transformer) == "int8"
    use_packed_matmul(transformer, True)
    assert transformer.get_submodule("layers.0.attention.to_q").uses_packed_matmul  # 64 to 64
    assert not transformer.get_submodule("layers.0.feed_forward.w1").uses_packed_matmul  # 64 to 170


def test_only_eight_bit_layers_have_a_product(load: Load) -> None:
    transformer = load("z-image-turbo").pipeline.transformer
    assert packed_matmul_form(transformer) is None
    assert packed_matmul_form(quantize(transformer, "int4", torch.bfloat16)) is None


@pytest.mark.parametrize(("form", "worst"), [("int8", 2.0), ("fp8", 6.0)])
def test_an_image_rendered_by_products_is_close(
    form: PackedForm, worst: float, load: Load, model_paths: ModelPaths, tiny_models: dict[str, Path]
) -> None:
    pipeline = load("z-image-turbo").pipeline
    expected = render_small(pipeline)
    reader = TierReader("z-image-turbo", Tier("any", "", "cpu", denoiser=form), torch.bfloat16, model_paths, lambda _: None)
    folder = tiny_models["z-image-turbo"] / "transformer"
    pipeline.transformer = reader.load(folder, "diffusers", "ZImageTransformer2DModel")
    assert pipeline.transformer.dtype == torch.bfloat16
    assert packed_matmul_form(pipeline.transformer) == form
    unpacked = render_small(pipeline)
    use_packed_matmul(pipeline.transformer, True)
    multiplied = render_small(pipeline)
    assert not np.array_equal(multiplied, unpacked)
    for found in (unpacked, multiplied):
        assert 0 < np.abs(found - expected).mean() * 255 < worst


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script:DeprecationWarning", "ignore:Torchinductor does not support:UserWarning"
)
@needs_inductor
@pytest.mark.parametrize(("form", "backend"), [("int8", "inductor"), ("fp8", "aot_eager")])
def test_a_multiplying_block_compiles_into_one_graph(form: PackedForm, backend: str) -> None:
    """Translate one form's graph too: graphs are split before that, and a C++ compiler takes ten seconds for each."""
    torch.manual_seed(0)
    block: torch.nn.Module = ZImageTransformerBlock(0, 64, 2, 2, 1e-5, True, modulation=False).eval()
    quantize(block, form, torch.float32)
    use_packed_matmul(block, True)
    freqs = torch.polar(torch.ones(1, 40, 16), torch.rand(1, 40, 16))
    with torch.no_grad():
        inputs = torch.randn(1, 40, 64)
        expected = block(inputs, None, freqs)
        found = torch.compile(block, fullgraph=True, backend=backend)(inputs, None, freqs)
    assert (found - expected).norm() / expected.norm() < 0.02
