"""Packed files are planned as they are: which card runs Z-Image from which file, at its published sizes."""

from __future__ import annotations

import pytest

from benchmarks.simulated_memory.model import true_sizes
from core.catalogue import Lora, load_catalogue
from core.errors import RenderError
from worker.device.machine import GIGABYTE, Machine
from worker.memory.plan import DEVICE_SHARE, MemoryPlan, choose_plan
from worker.memory.stored_sizes import stored_size
from worker.memory.tiers import TIERS

TURBO = load_catalogue().get("z-image-turbo")
EIGHT_GB_CARD, SIX_GB_CARD = 7.6, 5.6
"""With what the CUDA context and a desktop leave free."""


def plan(stored: str, gigabytes: float, text: str = "", policy: str = "auto", device: str = "cuda:0") -> MemoryPlan:
    """Return the plan for a machine with that much free memory and 32 GB of host memory."""
    machine = Machine(device, int(gigabytes * GIGABYTE), 32 * GIGABYTE, (8, 6))
    return choose_plan(TURBO, true_sizes(stored, text), "bfloat16", machine, policy)


@pytest.mark.parametrize(
    ("stored", "gigabytes"), [("Q8_0", 6.54), ("Q6_K", 5.05), ("Q4_K", 3.46), ("Q4_0", 3.46), ("fp8", 6.15), ("Q2_K", 2.02)]
)
def test_weights_are_counted_as_they_are_stored(stored: str, gigabytes: float) -> None:
    needs = plan(stored, 24).estimate
    assert needs.device["transformer"] / GIGABYTE == pytest.approx(gigabytes, rel=0.02)


@pytest.mark.parametrize("text", ["", "Q8_0", "Q4_K"])
def test_an_eight_gigabyte_card_runs_q8(text: str) -> None:
    chosen = plan("Q8_0", EIGHT_GB_CARD, text)
    assert chosen.policy == "lean"
    for side in (512, 1024):
        assert chosen.estimate.peak(side, side) <= EIGHT_GB_CARD * GIGABYTE * DEVICE_SHARE


@pytest.mark.parametrize("stored", ["Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_K"])
def test_a_six_gigabyte_card_runs_q4(stored: str) -> None:
    chosen = plan(stored, SIX_GB_CARD)
    assert chosen.policy == "lean"
    for side in (512, 1024):
        assert chosen.estimate.peak(side, side) <= SIX_GB_CARD * GIGABYTE * DEVICE_SHARE


@pytest.mark.parametrize(
    ("stored", "text", "policies"),
    [
        ("Q8_0", "", ("offload", "lean", "lean", "text-int8", "resident")),
        ("Q8_0", "Q8_0", ("offload", "lean", "lean", "resident", "resident")),
        ("fp8", "", ("offload", "lean", "lean", "text-int8", "resident")),
        ("Q4_K", "", ("lean", "lean", "text-int8", "resident", "resident")),
    ],
)
def test_the_best_tier_that_fits_is_chosen(stored: str, text: str, policies: tuple[str, ...]) -> None:
    assert tuple(plan(stored, gigabytes, text).policy for gigabytes in (6, 8, 12, 16, 24)) == policies


def test_a_packed_text_encoder_is_smaller_in_host_memory() -> None:
    assert plan("Q4_K", 6, "Q4_K").estimate.host_total < 0.4 * plan("Q4_K", 6).estimate.host_total


@pytest.mark.parametrize("policy", ["int8", "int8-lean", "int4-lean", "fp8-offload"])
def test_packed_weights_are_not_quantised_again(policy: str) -> None:
    message = (
        r"stores Q8_0, and such weights are not quantised again\. Use auto or one of: resident, text-int8, lean, offload"
    )
    with pytest.raises(RenderError, match=message) as caught:
        plan("Q8_0", 24, policy=policy)
    assert caught.value.code == "invalid_input"


def test_a_packed_text_encoder_is_not_quantised_again() -> None:
    with pytest.raises(RenderError, match="'text-int8' is not for"):
        plan("Q8_0", 24, "Q8_0", policy="text-int8")
    assert plan("", 16, "Q8_0").estimate.device["text_encoder"] == plan("", 80, "Q8_0").estimate.device["text_encoder"]


def test_tiers_of_packed_files_are_for_no_others() -> None:
    for tier in TIERS:
        if tier.for_packed_files:
            with pytest.raises(RenderError, match="is not for"):
                plan("", 24, policy=tier.name, device="cpu" if tier.device == "cpu" else "cuda:0")


def test_the_cpu_counts_them_too() -> None:
    assert plan("Q8_0", 24, device="cpu").policy == "cpu"
    assert plan("Q8_0", 14, device="cpu").policy == "cpu-text-int8"


def test_the_log_line_names_the_types() -> None:
    line = plan("Q8_0", 8, "Q4_K").describe()
    assert "memory policy lean" in line
    assert "as stored: transformer Q8_0, text_encoder Q4_K" in line or "text_encoder Q4_K, transformer Q8_0" in line


def test_a_lora_of_the_model_cannot_be_fused() -> None:
    model = TURBO.model_copy(update={"loras": (Lora(repo="some/lora"),)})
    machine = Machine("cuda:0", 24 * GIGABYTE, 64 * GIGABYTE)
    with pytest.raises(RenderError, match="stores Q8_0, into which no LoRA can be fused") as caught:
        choose_plan(model, true_sizes("Q8_0"), "bfloat16", machine)
    assert caught.value.code == "invalid_input"


def test_only_gguf_files_keep_plain_numbers() -> None:
    """Else a tier of 8 bits would be planned for a file that is loaded as it is."""
    rows = [("a.weight", "BF16", (64, 64)), ("b.weight", "F32", (64,))]
    assert stored_size(rows) is None
    found = stored_size(rows, is_gguf=True)
    assert found is not None
    assert (found.kind, found.packed, found.others, found.unpacked) == ("BF16", 0, 64 * 64 + 64, 0)
