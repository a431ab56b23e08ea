"""Memory of a pass and a decode: captions, unpacked weights and the whole image are counted, too."""

from __future__ import annotations

import pytest

from core.catalogue import load_catalogue
from worker.memory.estimate import CAPTION_TOKENS, UNPACK_BYTES, Estimate, estimate
from worker.memory.sizes import LARGEST_MATRIX, sizes_of_row
from worker.memory.tiers import tier_named

SIZES = sizes_of_row(load_catalogue().get("z-image-turbo"))


def needs_of(name: str, correction: float = 1.0) -> Estimate:
    tier = tier_named(name)
    assert tier is not None
    return estimate(tier, SIZES, "z-image", "bfloat16", correction)


def test_each_copy_adds_its_caption() -> None:
    needs = needs_of("resident")
    assert needs.image_tokens(512, 512) == 1024 + CAPTION_TOKENS["z-image"]
    assert needs.image_tokens(512, 512, rows=2) == 2 * needs.image_tokens(512, 512)


@pytest.mark.parametrize("name", ["int8", "int4-lean", "fp8", "fp8-offload"])
def test_packed_weights_need_memory_to_unpack(name: str) -> None:
    tier, bare, packed = tier_named(name), needs_of("resident"), needs_of(name)
    assert tier is not None
    assert packed.tokens_bytes(4096) - bare.tokens_bytes(4096) == LARGEST_MATRIX["denoiser"] * UNPACK_BYTES[tier.denoiser]


@pytest.mark.parametrize("name", ["resident", "int8-lean", "int4-lean"])
@pytest.mark.parametrize("correction", [0.5, 1.0, 2.0])
def test_tokens_within_is_the_inverse_of_tokens_bytes(name: str, correction: float) -> None:
    needs = needs_of(name, correction)
    assert needs.tokens_within(needs.tokens_bytes(3000) + 1) == 3000
    assert needs.tokens_within(needs.tokens_bytes(3000) - 1) == 2999
    assert needs.tokens_within(-1) == needs.tokens_within(needs.unpacked // 4) == 0


def test_a_tiled_decode_still_grows_with_the_image() -> None:
    needs = needs_of("int8-lean")
    assert needs.decode_bytes(512, 512) < needs.decode_bytes(2048, 2048) < 1.5 * needs.decode_bytes(512, 512)
    assert needs_of("resident").decode_bytes(2048, 2048) > 10 * needs.decode_bytes(2048, 2048)
