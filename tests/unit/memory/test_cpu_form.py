"""What a model computes in on a CPU, and the seconds that this should take."""

from __future__ import annotations

import pytest

from core.catalogue import load_catalogue
from core.errors import RenderError
from worker.device.cpu_probe import CpuSpeed
from worker.device.machine import GIGABYTE, Machine
from worker.memory.cpu_form import by_speed, choose_cpu_plan, forecast, forward_flop, is_measured
from worker.memory.plan import MemoryPlan, choose_plan
from worker.memory.sizes import sizes_of_row

Z_IMAGE, DEMO, SD_TURBO = (load_catalogue().get(name) for name in ("z-image-turbo", "demo", "sd-turbo"))
BF16_CPU, FP32_CPU = CpuSpeed(400, 156, 300), CpuSpeed(20, 150, 120)


def plan_with(gigabytes: float, dtype: str) -> MemoryPlan:
    free = int(gigabytes * GIGABYTE)
    return choose_plan(Z_IMAGE, sizes_of_row(Z_IMAGE), dtype, Machine("cpu", free, free))


@pytest.mark.parametrize(
    ("speed", "first"), [(BF16_CPU, "bfloat16"), (FP32_CPU, "float32"), (CpuSpeed(150, 160, 100), "bfloat16")]
)
def test_fp32_is_preferred_only_where_it_is_clearly_faster(speed: CpuSpeed, first: str) -> None:
    assert by_speed(["float16", "bfloat16", "float32"], speed)[0] == first


@pytest.mark.parametrize(
    ("gigabytes", "speed", "chosen"),
    [
        (64, BF16_CPU, ("bfloat16", "cpu")),
        (64, FP32_CPU, ("float32", "cpu")),
        (32, CpuSpeed(120, 150, 140), ("bfloat16", "cpu")),
        (32, FP32_CPU, ("float32", "cpu-int8")),
        (16, BF16_CPU, ("bfloat16", "cpu-int8")),
    ],
)
def test_eight_bits_are_taken_for_lack_of_memory_or_much_speed(
    gigabytes: float, speed: CpuSpeed, chosen: tuple[str, str]
) -> None:
    dtypes = by_speed(Z_IMAGE.dtypes, speed)
    dtype, plan = choose_cpu_plan(dtypes, speed, lambda name: plan_with(gigabytes, name))
    assert (dtype, plan.policy) == chosen


def test_a_machine_that_is_too_small_says_what_is_missing() -> None:
    with pytest.raises(RenderError, match="does not fit on cpu"):
        choose_cpu_plan(["bfloat16", "float32"], BF16_CPU, lambda name: plan_with(4, name))


def test_a_pass_of_z_image_is_counted_as_measured() -> None:
    """12.90 and 55.61 TFLOP were counted in the real architecture at 512 and 1024 pixels."""
    sizes = sizes_of_row(Z_IMAGE)
    assert forward_flop("z-image", sizes, 512, 512) == pytest.approx(12.90e12, rel=0.05)
    assert forward_flop("z-image", sizes, 1024, 1024) == pytest.approx(55.61e12, rel=0.1)


def test_seconds_follow_speed_steps_and_guidance() -> None:
    sizes, plan = sizes_of_row(Z_IMAGE), plan_with(64, "bfloat16")
    slow = forecast(Z_IMAGE, sizes, plan, "bfloat16", CpuSpeed(200, 156, 300))
    fast = forecast(Z_IMAGE, sizes, plan, "bfloat16", BF16_CPU)
    assert slow.seconds_per_step == pytest.approx(2 * fast.seconds_per_step)
    assert fast.seconds_per_image > 8 * fast.seconds_per_step
    guided = forecast(load_catalogue().get("z-image"), sizes, plan, "bfloat16", BF16_CPU)
    assert guided.seconds_per_step == pytest.approx(2 * fast.seconds_per_step)
    assert "1024x1024 in 8 steps: about" in fast.describe() and "GB of memory" in fast.describe()


def test_a_unet_is_of_the_measured_order() -> None:
    """4.4 s a step were measured for SD-Turbo at 512 pixels in bf16 on two cores of 400 GFLOP/s."""
    assert 1 < forward_flop("stable-diffusion", sizes_of_row(SD_TURBO), 512, 512) / 400e9 < 4.4


def test_small_models_are_not_measured() -> None:
    assert not is_measured(sizes_of_row(DEMO)) and is_measured(sizes_of_row(SD_TURBO))
