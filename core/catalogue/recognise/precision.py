"""Tell the precision of weights from the types of their tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from core.catalogue.weight_headers import TensorInfo

_FLOATS = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp32"}
_SCALES = (".weight_scale", ".scale_weight", ".comfy_quant", ".scale_input", ".input_scale")
_GGUF_TYPES = frozenset(
    {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}
)
_PACKED_BITS = {"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q6_K": 6.6, "Q5_K": 5.5, "Q4_K": 4.5}
_MINOR = 0.05
"""Norms and biases in another type, up to this share of the bytes, do not make a file mixed."""
_FOREIGN: tuple[tuple[str, str], ...] = (
    (".wscales", "a Nunchaku (SVDQuant) file, which needs Nunchaku's own kernels"),
    (".smooth_factor", "a Nunchaku (SVDQuant) file, which needs Nunchaku's own kernels"),
    (".weight_scale_2", "quantised as NVFP4, which needs a Blackwell GPU and kernels of its own"),
    (".qzeros", "quantised with GPTQ or AWQ"),
    (".quant_state.bitsandbytes__nf4", "quantised with bitsandbytes (NF4)"),
    (".quant_state.bitsandbytes__fp4", "quantised with bitsandbytes (FP4)"),
    (".SCB", "quantised with bitsandbytes (INT8)"),
    (".zero_point", "quantised with SDNQ or another integer format"),
    (".svd_up", "quantised with SDNQ"),
)
PRECISIONS = "bf16, fp16, fp32, FP8 (plain or scaled), and GGUF of the types Q2_K to Q8_0, F16 and BF16"


def precision_of(tensors: Mapping[str, TensorInfo]) -> str:
    """Return `bf16`, `fp16`, `fp32`, `fp8`, `fp8-scaled`, `mixed`, or the GGUF type of most bytes, such as `Q8_0`."""
    sizes = _bytes_by_type(tensors)
    total = sum(sizes.values()) or 1
    packed = [name for name in sizes if name not in _FLOATS and name.startswith(("Q", "IQ", "TQ", "MXFP"))]
    if packed:
        return max(packed, key=lambda name: sizes[name])
    if any(name.startswith("F8_E") for name in sizes):
        return "fp8-scaled" if any(name.endswith(_SCALES) for name in tensors) else "fp8"
    major = {_FLOATS[name] for name, size in sizes.items() if name in _FLOATS and size > _MINOR * total}
    return major.pop() if len(major) == 1 else "mixed"


def _bytes_by_type(tensors: Mapping[str, TensorInfo]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for info in tensors.values():
        sizes[info.dtype] += math.ceil(math.prod(info.shape) * _PACKED_BITS.get(info.dtype, 8) / 8)
    return sizes


def unsupported_precision(tensors: Mapping[str, TensorInfo], *, gguf: bool) -> str:
    """Return how weights are stored that no loader here reads, as the end of "it is ..."; "" when they can be read."""
    if gguf:
        strange = sorted({info.dtype for info in tensors.values()} - _GGUF_TYPES)
        return f"quantised as {', '.join(strange)}" if strange else ""
    for suffix, what in _FOREIGN:
        if any(name.endswith(suffix) for name in tensors):
            return what
    large = [info for name, info in tensors.items() if name.endswith(".weight") and len(info.shape) == 2]
    if any(info.dtype in ("U8", "F4") for info in large):
        return "quantised to 4 bits (such as NVFP4, MXFP4 or NF4)"
    if any(info.dtype == "I8" for info in large):
        return "quantised to INT8 by another program"
    if any(name.endswith(".weight_scale") and info.dtype in ("U8", "F8_E8M0") for name, info in tensors.items()):
        return "quantised as MXFP8"
    return ""
