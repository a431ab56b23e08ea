"""A model that leaves its GPU for another one takes its LoRAs along."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from core.render import LoraRequest
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel
from worker.engine.builder import _suspend
from worker.models.tiny_models.build import build_lora

INK = (LoraRequest(name="ink", scale=0.7),)


@pytest.mark.parametrize(("device", "stay"), [("cuda:0", False), ("cpu", True)])
def test_loras_leave_a_gpu_with_their_model(device: str, stay: bool, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    made = TinyModel("demo", tmp_path, "float32")
    made.loras.mkdir()
    build_lora(made.stock, made.loras / "made", 1).rename(made.loras / "ink.safetensors")
    plain = made.alone(a_request(1, steps=2)).latents
    inked = made.alone(a_request(1, steps=2, loras=INK)).latents
    adapters = made.adapters
    adapters.activate(())
    weights: list[Any] = [
        weakref.ref(each) for _, _, layer in adapters._layers._layers for each in cast(Any, layer).lora_A.parameters()
    ]
    assert weights and not torch.equal(plain, inked)
    loaded: Any = SimpleNamespace(device=torch.device(device), pipeline=made.pipeline)
    _suspend(loaded, adapters)
    gc.collect()
    assert {reference() is not None for reference in weights} == {stay}
    assert torch.equal(made.alone(a_request(1, steps=2)).latents, plain)
    assert torch.equal(made.alone(a_request(1, steps=2, loras=INK)).latents, inked)
