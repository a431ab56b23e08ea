"""Text encoders on a device besides the model's own: what the plan counts, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import nn

from core.catalogue import load_catalogue
from core.errors import RenderError
from core.settings import Settings
from worker.device.machine import GIGABYTE, Machine, TextDevice
from worker.device.torch_device import resolve_text_device
from worker.memory import apply
from worker.memory.plan import MemoryPlan, choose_plan
from worker.memory.sizes import sizes_of_row
from worker.memory.text_placement import place_text
from worker.memory.tiers import tier_named

SECOND_GPU = TextDevice("cuda:1", 24 * GIGABYTE)


def plan(gigabytes: float, text: TextDevice | None, policy: str = "auto", model: str = "z-image-turbo") -> MemoryPlan:
    row = load_catalogue().get(model)
    machine = Machine("cuda:0", int(gigabytes * GIGABYTE), 64 * GIGABYTE)
    return choose_plan(row, sizes_of_row(row), row.dtypes[0], machine, policy, text=text)


def test_the_device_of_the_model_needs_no_memory_for_them() -> None:
    alone, beside = plan(24, None), plan(24, SECOND_GPU)
    assert beside.estimate.device["text_encoder"] == beside.estimate.host["text_encoder"] == 0
    assert beside.estimate.resident == alone.estimate.resident - alone.estimate.device["text_encoder"]
    assert "text encoders on cuda:1 instead" in beside.describe() and "instead" not in alone.describe()
    assert (plan(16, None).policy, plan(16, SECOND_GPU).policy) == ("int8", "resident"), "a better tier fits"


def test_on_the_cpu_they_need_host_memory() -> None:
    found = plan(24, TextDevice("cpu", 64 * GIGABYTE))
    assert found.tier.text_place == "cpu" and found.estimate.host_total > 7 * GIGABYTE


def test_a_device_without_room_is_refused_in_words() -> None:
    with pytest.raises(RenderError, match=r"need 8\.\d GB, and 4\.0 GB are free on cuda:1.*IMAGEFARM_TEXT_ENCODER_DEVICE"):
        plan(24, TextDevice("cuda:1", 4 * GIGABYTE))


def test_a_pipeline_that_runs_as_it_is_keeps_its_own_placement() -> None:
    stock = next(row.id for row in load_catalogue() if row.family == "stock")
    with pytest.raises(RenderError, match=f"text encoders of {stock} cannot be on cuda:1"):
        plan(200, SECOND_GPU, model=stock)


def test_unknown_devices_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="'gpu' is not a device for text encoders: write auto, cpu, cuda or cuda:N"):
        Settings(_env_file=None, text_encoder_device="gpu")
    cpu = torch.device("cpu")
    with pytest.raises(RenderError, match=r"There is no cuda:7 here.*Correct IMAGEFARM_TEXT_ENCODER_DEVICE"):
        resolve_text_device("cuda:7", cpu)
    assert resolve_text_device("auto", cpu) is None and resolve_text_device("cpu", cpu) is None


def test_only_the_text_encoders_move_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Weights cannot be moved onto `meta` in place, as they are onto a GPU.
    monkeypatch.setattr(apply, "move_in_one_allocation", lambda module, device: module.to(device))
    tier = tier_named("cpu")
    assert tier is not None
    parts = {name: nn.Linear(2, 2) for name in ("transformer", "text_encoder", "text_encoder_2", "vae")}
    pipeline = cast("DiffusionPipeline", SimpleNamespace(components=parts))
    placed = place_text(tier, TextDevice("meta", GIGABYTE))
    apply.apply_tier(pipeline, placed, torch.device("cpu"), lambda _: None, torch.device("meta"))
    places = {name: part.weight.device.type for name, part in parts.items()}
    assert places == {"transformer": "cpu", "text_encoder": "meta", "text_encoder_2": "meta", "vae": "cpu"}
