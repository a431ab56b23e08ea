"""The tiers' memory limits, checked with a full-size Z-Image whose allocations are counted on the meta device."""

from __future__ import annotations

import pytest

from benchmarks.gpu.memory import GOAL_PEAK_GB
from benchmarks.gpu.weights import measured_model
from benchmarks.simulated_memory.model import true_sizes
from benchmarks.simulated_memory.simulate import Case, Simulated, planned, simulate
from worker.device.machine import GIGABYTE, Machine
from worker.memory.estimate import CAPTION_TOKENS
from worker.memory.plan import DEVICE_SHARE, choose_plan
from worker.memory.sizes import sizes_of_row
from worker.memory.tiers import Tier, tier_named
from worker.models.libraries import silence_libraries
from worker.pipelines.z_image.text import MAX_SEQUENCE_LENGTH

EIGHT_GB_GPU = Machine("cuda:0", int(7.6 * GIGABYTE), 64 * GIGABYTE, (8, 6))
"""With what the CUDA context and a desktop leave free."""
HEADROOM = int(0.25 * GIGABYTE)
"""For workspaces of cuBLAS and cuDNN, which a simulation cannot see. The CUDA context is not part of free memory."""
GOAL = int(GOAL_PEAK_GB * GIGABYTE) - HEADROOM
MAX_EXCESS = 1.5
FEW = 3
"""Main blocks that are run; one test shows that all of them need no more."""
silence_libraries()


def assert_estimate_holds(tier: Tier, found: Simulated, stored: str = "") -> None:
    """Fail for an estimate that is too small, which would run out of memory, or far too large, which would refuse users."""
    needs, case = planned(tier, stored), found.case
    step = needs.tokens_bytes(needs.image_tokens(case.side, case.side, case.rows))
    decode = needs.decode_bytes(case.side, case.side)
    assert found.total <= needs.peak(case.side, case.side, case.rows)
    assert found.step <= step <= MAX_EXCESS * found.step
    assert found.decode <= decode <= MAX_EXCESS * found.decode


@pytest.mark.parametrize(
    ("packed_matmul", "sides"), [(False, (512, 1024)), (True, (768, 1024))], ids=["unpacked", "8-bit matmul"]
)
def test_the_eight_gigabyte_tier_peaks_below_seven_and_a_half(packed_matmul: bool, sides: tuple[int, ...]) -> None:
    """Check live bytes, and the allocator's reserved bytes under that limit."""
    tier = choose_plan(measured_model(), true_sizes(), "bfloat16", EIGHT_GB_GPU).tier
    assert tier.name == "int8-lean"
    for found in simulate(tier, [Case(side) for side in sides], packed_matmul, GOAL, FEW):
        assert found.total <= found.reserved <= GOAL
        assert_estimate_holds(tier, found)


@pytest.mark.parametrize(("stored", "pooled"), [("Q8_0", False), ("fp8", True)])
def test_an_eight_gigabyte_gpu_holds_packed_files(stored: str, pooled: bool) -> None:
    """With a Q8_0 file only live bytes fit below the headroom: the pools' gaps need a part of it."""
    tier = choose_plan(measured_model(), true_sizes(stored), "bfloat16", EIGHT_GB_GPU).tier
    assert tier.name == "lean"
    limit = EIGHT_GB_GPU.free_bytes - HEADROOM
    for found in simulate(tier, [Case(512), Case(1024)], limit=limit if pooled else None, blocks=FEW, stored=stored):
        assert found.total <= limit
        assert_estimate_holds(tier, found, stored)


@pytest.mark.parametrize(("name", "packed_matmul"), [("resident", False), ("fp8", True), ("int4-lean", False)])
def test_the_estimate_is_close(name: str, packed_matmul: bool) -> None:
    tier = tier_named(name)
    assert tier is not None
    for found in simulate(tier, [Case(512), Case(1024, rows=2)], packed_matmul, blocks=FEW):
        assert_estimate_holds(tier, found)


@pytest.mark.parametrize(("name", "packed_matmul"), [("int8-lean", True), ("int4-lean", False)])
def test_the_smallest_gpu_that_a_tier_is_chosen_for_holds_it(name: str, packed_matmul: bool) -> None:
    """Check that fragmentation stays within the share that plans leave free."""
    tier = tier_named(name)
    assert tier is not None
    least = int(planned(tier).peak(1024, 1024) / DEVICE_SHARE)
    assert [found.total < least for found in simulate(tier, [Case(1024)], packed_matmul, least, FEW)] == [True]


def test_all_blocks_need_as_much_as_a_few() -> None:
    tier = tier_named("int8-lean")
    assert tier is not None
    few, whole = (list(simulate(tier, [Case(1024)], blocks=blocks, limit=GOAL)) for blocks in (FEW, None))
    assert few == whole


def test_sizes_of_the_catalogue_agree_with_the_classes() -> None:
    listed, true = sizes_of_row(measured_model()), true_sizes()
    assert (listed.width, listed.vae_width) == (true.width, true.vae_width)
    for expected, found in zip(true.components, listed.components, strict=True):
        assert found.parameters == expected.parameters
        assert found.matrices == pytest.approx(expected.matrices, rel=0.01, abs=3e6)
        assert found.largest == expected.largest or found.role == "vae"


def test_the_longest_caption_is_counted() -> None:
    assert CAPTION_TOKENS["z-image"] == MAX_SEQUENCE_LENGTH
