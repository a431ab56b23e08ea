"""Linear layers whose weights are kept in 8 or 4 bits: plain torch operations, any device."""

from __future__ import annotations

from worker.memory.layers.fp8 import Fp8Linear
from worker.memory.layers.int4 import INT4_GROUP, Int4Linear
from worker.memory.layers.int8 import Int8Linear
from worker.memory.layers.packed import PackedLinear

__all__ = ["INT4_GROUP", "Fp8Linear", "Int4Linear", "Int8Linear", "PackedLinear"]
