"""The tier that fits is chosen, by estimates that agree with the reported peaks of Z-Image."""

from __future__ import annotations

import pytest

from core.catalogue import Lora, load_catalogue
from core.errors import RenderError
from worker.device.machine import GIGABYTE, Machine
from worker.memory.estimate import estimate, tokens
from worker.memory.plan import DEVICE_SHARE, MemoryPlan, choose_plan, max_pixels
from worker.memory.sizes import sizes_of_row
from worker.memory.tiers import TIERS, tier_named

GIB = 2**30
TURBO = load_catalogue().get("z-image-turbo")
SIZES = sizes_of_row(TURBO)


def plan(device_gigabytes: float, host_gigabytes: float = 64, policy: str = "auto", model: str = TURBO.id) -> MemoryPlan:
    """Return a plan for a GPU with that much free memory."""
    row = load_catalogue().get(model)
    machine = Machine("cuda:0", int(device_gigabytes * GIGABYTE), int(host_gigabytes * GIGABYTE))
    return choose_plan(row, sizes_of_row(row), row.dtypes[0], machine, policy)


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("resident", (20.0, 20.5, 21.1)),
        ("int8-lean", (6.8, 6.8, 6.9)),
        ("offload", (1.7, 1.9, 2.1)),
        ("fp8-offload", (1.2, 1.4, 1.6)),
    ],
)
def test_estimates_agree_with_reported_peaks(name: str, reported: tuple[float, float, float]) -> None:
    tier = tier_named(name)
    assert tier is not None
    needs = estimate(tier, SIZES, "z-image", "bfloat16")
    for side, gibibytes in zip((512, 768, 1024), reported, strict=True):
        assert needs.peak(side, side) / GIB == pytest.approx(gibibytes, abs=0.8)


def test_the_eight_gigabyte_tier_stays_below_seven_and_a_half() -> None:
    chosen = plan(8)
    assert chosen.policy == "int8-lean"
    for side in (512, 768, 1024):
        assert chosen.estimate.peak(side, side) <= 7.5 * GIGABYTE
    assert chosen.estimate.resident + chosen.estimate.tokens_bytes(chosen.token_budget) <= 7.5 * GIGABYTE


@pytest.mark.parametrize(
    ("gigabytes", "policy"),
    [(80, "resident"), (24, "resident"), (16, "int8"), (12, "int8-lean"), (8, "int8-lean"), (6, "offload")],
)
def test_the_best_tier_that_fits_is_chosen(gigabytes: float, policy: str) -> None:
    assert plan(gigabytes).policy == policy


def test_streaming_needs_host_memory() -> None:
    assert plan(6, host_gigabytes=16).policy == "int4-lean"
    assert plan(3, host_gigabytes=16).policy == "fp8-offload"


def test_the_error_names_what_each_tier_needs() -> None:
    with pytest.raises(RenderError, match=r"does not fit on cuda:0: resident needs .* IMAGEFARM_MEMORY_POLICY") as caught:
        plan(1, host_gigabytes=4)
    assert caught.value.code == "out_of_memory"


def test_a_named_policy_is_used_even_if_it_does_not_fit() -> None:
    assert plan(1, policy="resident").policy == "resident"


@pytest.mark.parametrize(("policy", "model"), [("no-such", TURBO.id), ("cpu", TURBO.id), ("int8", "sd-turbo")])
def test_an_unsuitable_policy_is_refused(policy: str, model: str) -> None:
    with pytest.raises(RenderError, match=r"is not for .*auto or one of: resident") as caught:
        plan(80, policy=policy, model=model)
    assert caught.value.code == "invalid_input"


def test_fp8_needs_a_capable_gpu_and_is_used_only_by_name() -> None:
    ada, ampere = (Machine("cuda:0", 16 * GIGABYTE, 64 * GIGABYTE, capability) for capability in ((8, 9), (8, 6)))
    assert choose_plan(TURBO, SIZES, "bfloat16", ada).policy == "int8"
    assert choose_plan(TURBO, SIZES, "bfloat16", ada, "fp8").policy == "fp8"
    with pytest.raises(
        RenderError, match=r"'fp8' is not for .* \(compute capability 8\.6\).*one of: resident, int8, int8-lean"
    ):
        choose_plan(TURBO, SIZES, "bfloat16", ampere, "fp8")


def test_fp8_is_not_chosen_when_only_int8_does_not_fit() -> None:
    ada = Machine("cuda:0", 16 * GIGABYTE, 64 * GIGABYTE, (8, 9))
    chosen = choose_plan(TURBO, SIZES, "bfloat16", ada, correction=lambda tier: 9.0 if tier == "int8" else 1.0)
    assert chosen.policy == "int8-lean"


def test_fp8_needs_as_much_as_int8() -> None:
    needs = [estimate(tier, SIZES, "z-image", "bfloat16") for name in ("int8", "fp8") if (tier := tier_named(name))]
    assert needs[0].resident == needs[1].resident


def test_the_cpu_uses_eight_bits_when_memory_is_short() -> None:
    for gigabytes, policy in ((32, "cpu"), (16, "cpu-int8")):
        machine = Machine("cpu", gigabytes * GIGABYTE, gigabytes * GIGABYTE)
        assert choose_plan(TURBO, SIZES, "bfloat16", machine).policy == policy


def test_budget_and_capacity_shrink_with_available_memory() -> None:
    roomy, tight = plan(80, policy="int8-lean"), plan(6.7, policy="int8-lean")
    assert roomy.token_budget == 4096
    assert tokens(512, 512) <= tight.token_budget < roomy.token_budget
    assert tight.capacity < roomy.capacity


def test_a_correction_changes_the_choice() -> None:
    machine = Machine("cuda:0", 24 * GIGABYTE, 64 * GIGABYTE)
    chosen = choose_plan(TURBO, SIZES, "bfloat16", machine, correction=lambda tier: 3.0 if tier == "resident" else 1.0)
    assert chosen.policy == "int8"


def test_the_log_line_includes_the_estimate() -> None:
    line = plan(8).describe()
    assert "int8-lean" in line
    assert "estimated peak at 1024x1024" in line


def test_names_are_unique_and_every_family_has_a_tier_on_each_device() -> None:
    assert len({tier.name for tier in TIERS}) == len(TIERS)
    for model in load_catalogue():
        assert choose_plan(model, sizes_of_row(model), "bfloat16", Machine("cuda:0", 10**12, 10**12)).policy == "resident"
        assert choose_plan(model, sizes_of_row(model), "bfloat16", Machine("cpu", 10**12, 10**12)).policy == "cpu"


def test_a_model_with_a_fused_lora_is_not_quantised() -> None:
    with_lora = TURBO.model_copy(update={"loras": (Lora(repo="some/lora"),)})
    machine = Machine("cuda:0", 16 * GIGABYTE, 64 * GIGABYTE)
    assert choose_plan(with_lora, SIZES, "bfloat16", machine).policy == "offload"


def test_weights_cast_at_each_use_are_streamed() -> None:
    """Moved as one allocation they would be on the device twice after their first use."""
    assert all(tier.denoiser_place == "streamed" for tier in TIERS if tier.denoiser == "fp8-cast")


def test_the_largest_size_is_what_fits_next_to_the_weights() -> None:
    roomy, tight = plan(80), plan(8)
    assert max_pixels(roomy, TURBO) == TURBO.limits.max_pixels
    largest = max_pixels(tight, TURBO)
    side = int(largest**0.5)
    assert tight.estimate.peak(side, side) <= tight.free_bytes * DEVICE_SHARE
    assert tight.estimate.peak(side + 16, side + 16) > tight.free_bytes * DEVICE_SHARE
    assert 1024 * 1024 <= max_pixels(tight, TURBO, rows=2) < largest < TURBO.limits.max_pixels
