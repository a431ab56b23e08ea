"""int8 and fp8 matmul on a GPU is close to the float layer's, at the sizes of Z-Image."""

from __future__ import annotations

import pytest
import torch
import torch._inductor.config

from tests.gpu.requirements import needs_a_gpu, skip_below
from worker.memory.packed_layers import Fp8Linear, Int8Linear, PackedLinear
from worker.memory.quantize import MIN_CAPABILITY, use_packed_matmul
from worker.memory.tiers import PackedForm

pytestmark = needs_a_gpu
FORMS: list[tuple[PackedForm, type[PackedLinear], float]] = [("int8", Int8Linear, 0.02), ("fp8", Fp8Linear, 0.05)]


@pytest.mark.parametrize(("form", "cls", "worst"), FORMS)
@pytest.mark.parametrize("rows", [1, 17, 1056, 4128])
@pytest.mark.parametrize(("inner", "outer"), [(3840, 3840), (3840, 10240), (10240, 3840)])
def test_a_product_is_close_to_the_float_layer(
    form: PackedForm, cls: type[PackedLinear], worst: float, rows: int, inner: int, outer: int
) -> None:
    skip_below(MIN_CAPABILITY[form])
    torch.manual_seed(0)
    weight = torch.randn(outer, inner, device="cuda", dtype=torch.bfloat16) * 0.02
    packed = cls(inner, outer, bias=False, dtype=torch.bfloat16).cuda()
    packed.pack(weight)
    use_packed_matmul(packed, True)
    inputs = torch.randn(rows, inner, device="cuda", dtype=torch.bfloat16)
    exact = inputs.float() @ weight.float().t()
    found = packed(inputs)
    assert found.dtype == torch.bfloat16
    assert float((found.float() - exact).norm() / exact.norm()) < worst


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # Raised within the compiler.
@pytest.mark.parametrize(("form", "cls", "worst"), FORMS)
def test_a_compiled_layer_multiplies_too(form: PackedForm, cls: type[PackedLinear], worst: float) -> None:
    skip_below(MIN_CAPABILITY[form])
    packed = cls(256, 512, bias=False, dtype=torch.bfloat16).cuda()
    packed.pack(torch.randn(512, 256, device="cuda", dtype=torch.bfloat16))
    use_packed_matmul(packed, True)
    inputs = torch.randn(64, 256, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad(), torch._inductor.config.patch(max_autotune_gemm_backends="ATEN"):  # As the engine compiles.
        expected = packed(inputs).float()
        found = torch.compile(packed, fullgraph=True)(inputs).float()
    assert float((found - expected).norm() / expected.norm()) < worst
