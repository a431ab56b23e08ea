"""Sizes of components that their files store packed, in GGUF types or fp8, and that stay so in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

BLOCKS: Mapping[str, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
}
"""Supported types of GGUF files: elements and bytes of a block."""
PLAIN = ("F32", "F16", "BF16")
"""Types of numbers that are not packed."""
UNPACK_BYTES: Mapping[str, float] = {
    "Q4_0": 4.1,
    "Q4_1": 5.1,
    "Q5_0": 10.1,
    "Q5_1": 10.1,
    "Q8_0": 2.1,
    "Q2_K": 5.4,
    "Q3_K": 5.5,
    "Q4_K": 5.3,
    "Q5_K": 7.3,
    "Q6_K": 5.3,
    "fp8": 6.1,
}
"""Intermediate bytes per element while a piece of a matrix is unpacked, by its stored type."""
PIECE = 2**21
"""Elements that are unpacked at once on a GPU: they need little memory next to the whole unpacked matrix."""
FP8_NAMES = ("F8_E4M3", "F8_E5M2")
NOT_MATRICES = ("pad_token", "embed_tokens")
"""Parts of names of two-dimensional tensors that are unpacked when they are loaded. A GGUF file's embedding stays packed."""
UNUSED = ("output.weight",)


@dataclass(frozen=True)
class StoredSize:
    """`kind`: the type of most of its bytes. `packed`: bytes that stay packed; `others`: parameters that do not.

    `unpacked`: bytes for the matrix that needs most while it is unpacked, in a dtype of two bytes.
    """

    kind: str
    packed: int
    others: int
    unpacked: int


def stored_size(tensors: Iterable[tuple[str, str, Sequence[int]]], is_gguf: bool = False) -> StoredSize | None:
    """Return the size from names, types (the format's own names) and shapes; None if the form of the file is not kept.

    GGUF files are never quantised again, even those that hold plain numbers, nor are files with any fp8 tensor.
    """
    kinds: Counter[str] = Counter()
    plain: Counter[str] = Counter()
    unpacked, is_kept = 0, is_gguf
    for name, dtype, shape in tensors:
        if name in UNUSED:
            continue
        kind, elements = _kind(dtype), prod(shape)
        is_kept = is_kept or kind is not None
        if kind is None or len(shape) != 2 or any(part in name for part in NOT_MATRICES):
            plain[dtype] += elements
            continue
        block, size = BLOCKS.get(kind, (1, 1))
        kinds[kind] += elements // block * size
        if "token_embd" not in name:
            unpacked = max(unpacked, 2 * elements + int(min(elements, PIECE) * UNPACK_BYTES[kind]))
    if not is_kept:
        return None
    kind = (kinds or plain).most_common(1)[0][0] if kinds or plain else ""
    return StoredSize(kind, kinds.total(), plain.total(), unpacked)


def _kind(dtype: str) -> str | None:
    if dtype in FP8_NAMES:
        return "fp8"
    return dtype if dtype in BLOCKS and dtype not in PLAIN else None
