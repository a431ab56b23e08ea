"""What a model computes in on a CPU, and the seconds that this should take."""

from __future__ import annotations

import pytest

from core.catalogue import load_catalogue
from core.errors import RenderError
from worker.device.cpu_probe import CpuSpeed
from worker.device.machine import GIGABYTE, Machine
from worker.memory.cpu_form import (
    CpuForm,
    by_speed,
    choose_cpu_plan,
    forecast,
    forms_by_speed,
    forward_flop,
    is_measured,
    multiplies_int8,
)
from worker.memory.plan import MemoryPlan, choose_plan
from worker.memory.sizes import sizes_of_row

Z_IMAGE, DEMO, SD_TURBO = (load_catalogue().get(name) for name in ("z-image-turbo", "demo", "sd-turbo"))
BF16_CPU, FP32_CPU = CpuSpeed(400, 156, 300), CpuSpeed(20, 150, 120)


BF16 = CpuForm("bfloat16", "bfloat16")


def plan_with(gigabytes: float, form: CpuForm, policy: str = "auto") -> MemoryPlan:
    free = int(gigabytes * GIGABYTE)
    machine = Machine("cpu", free, free)
    return choose_plan(Z_IMAGE, sizes_of_row(Z_IMAGE), form.stored, machine, policy, compute=form.compute)


@pytest.mark.parametrize(
    ("speed", "first"), [(BF16_CPU, "bfloat16"), (FP32_CPU, "float32"), (CpuSpeed(150, 160, 100), "bfloat16")]
)
def test_fp32_is_preferred_only_where_it_is_clearly_faster(speed: CpuSpeed, first: str) -> None:
    assert by_speed(["float16", "bfloat16", "float32"], speed)[0] == first


@pytest.mark.parametrize(
    ("gigabytes", "speed", "compute", "policy"),
    [
        (64, BF16_CPU, "bfloat16", "cpu"),
        (64, FP32_CPU, "float32", "cpu"),
        (32, FP32_CPU, "float32", "cpu"),
        (32, CpuSpeed(120, 150, 140), "float32", "cpu"),
        (16, FP32_CPU, "float32", "cpu-int8"),
        (16, BF16_CPU, "bfloat16", "cpu-int8"),
    ],
)
def test_weights_stay_small_whatever_is_computed_in(gigabytes: float, speed: CpuSpeed, compute: str, policy: str) -> None:
    form, plan = choose_cpu_plan(forms_by_speed(Z_IMAGE, speed), speed, lambda form: plan_with(gigabytes, form))
    assert (form.stored, form.compute, plan.policy) == ("bfloat16", compute, policy)


def test_fp32_products_need_little_more_memory_than_bf16() -> None:
    narrow, wide = (plan_with(64, CpuForm("bfloat16", compute)) for compute in ("bfloat16", "float32"))
    assert 0 < wide.estimate.resident - narrow.estimate.resident < 0.5 * GIGABYTE
    assert 0 < wide.estimate.peak(512, 512) - narrow.estimate.peak(512, 512) < 2 * GIGABYTE


def test_a_named_dtype_is_used_for_everything() -> None:
    assert forms_by_speed(Z_IMAGE, FP32_CPU, "bfloat16") == [BF16]


def test_other_models_hold_what_they_compute_in() -> None:
    assert forms_by_speed(SD_TURBO, FP32_CPU) == [CpuForm("float32", "float32"), BF16]


def test_eight_bits_are_multiplied_only_where_that_is_clearly_faster() -> None:
    assert multiplies_int8(CpuSpeed(400, 156, 300, 450))
    assert not multiplies_int8(CpuSpeed(400, 156, 300, 310))
    assert not multiplies_int8(CpuSpeed(400, 156, 300))
    slow, fast = CpuSpeed(400, 156, 300), CpuSpeed(400, 156, 300, 600)
    steps = [
        forecast(Z_IMAGE, sizes_of_row(Z_IMAGE), plan_with(16, BF16), BF16, each).seconds_per_step for each in (slow, fast)
    ]
    assert steps[0] == pytest.approx(2 * steps[1])


def test_a_machine_that_is_too_small_says_what_is_missing() -> None:
    with pytest.raises(RenderError, match="does not fit on cpu"):
        choose_cpu_plan(forms_by_speed(Z_IMAGE, BF16_CPU), BF16_CPU, lambda form: plan_with(4, form))


def test_a_pass_of_z_image_is_counted_as_measured() -> None:
    """12.90 and 55.61 TFLOP were counted in the real architecture at 512 and 1024 pixels."""
    sizes = sizes_of_row(Z_IMAGE)
    assert forward_flop("z-image", sizes, 512, 512) == pytest.approx(12.90e12, rel=0.05)
    assert forward_flop("z-image", sizes, 1024, 1024) == pytest.approx(55.61e12, rel=0.1)


def test_seconds_follow_speed_steps_and_guidance() -> None:
    sizes, plan = sizes_of_row(Z_IMAGE), plan_with(64, BF16)
    slow = forecast(Z_IMAGE, sizes, plan, BF16, CpuSpeed(200, 156, 300))
    fast = forecast(Z_IMAGE, sizes, plan, BF16, BF16_CPU)
    assert slow.seconds_per_step == pytest.approx(2 * fast.seconds_per_step)
    assert fast.seconds_per_image > 8 * fast.seconds_per_step
    guided = forecast(load_catalogue().get("z-image"), sizes, plan, BF16, BF16_CPU)
    assert guided.seconds_per_step == pytest.approx(2 * fast.seconds_per_step)
    assert "1024x1024 in 8 steps: about" in fast.describe() and "GB of memory" in fast.describe()


def test_a_unet_is_of_the_measured_order() -> None:
    """4.4 s a step were measured for SD-Turbo at 512 pixels in bf16 on two cores of 400 GFLOP/s."""
    assert 1 < forward_flop("stable-diffusion", sizes_of_row(SD_TURBO), 512, 512) / 400e9 < 4.4


def test_small_models_are_not_measured() -> None:
    assert not is_measured(sizes_of_row(DEMO)) and is_measured(sizes_of_row(SD_TURBO))
