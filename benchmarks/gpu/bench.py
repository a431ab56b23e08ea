"""Shared setup of all measurements: the weights' folder, the device, and the engine's spec."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from benchmarks.gpu.weights import measured_model
from core.catalogue import ModelPaths
from worker.device.machine import Machine
from worker.device.torch_device import measure_machine
from worker.engine.builder import build_engine
from worker.engine.parts import EngineParts
from worker.engine.spec import EngineSpec
from worker.memory.plan import suits
from worker.memory.sizes import ModelSizes, read_sizes
from worker.memory.tiers import TIERS, Tier

OnProgress = Callable[[str, float | None], None]


def no_progress(_stage: str, _fraction: float | None) -> None:
    """Discard progress."""


@dataclass(frozen=True)
class Bench:
    """`engine`: further fields of the engine's spec, such as attention_backend; text is converted to the field's type."""

    weights: Path
    models_dir: Path
    device: torch.device
    engine: dict[str, str] = field(default_factory=dict)

    @property
    def model_paths(self) -> ModelPaths:
        return ModelPaths(self.models_dir, {measured_model().id: self.weights}, self.models_dir / "no-hub")

    def tiers(self) -> list[Tier]:
        """Return the tiers that can be applied to the model on this device."""
        return [tier for tier in TIERS if suits(tier, measured_model(), self.measure_machine(), self.sizes())]

    def sizes(self) -> ModelSizes:
        """Return the sizes of the weights."""
        return read_sizes(self.weights, measured_model())

    def measure_machine(self) -> Machine:
        return measure_machine(self.device)

    def open(self, policy: str, on_progress: OnProgress = no_progress, **fields: Any) -> EngineParts:  # noqa: ANN401 - fields
        """Open the engine in that tier, warmed up as the farm does."""
        defaults: dict[str, Any] = {
            "model": measured_model().id,
            "device": str(self.device),
            "memory_policy": policy,
            "models_dir": self.models_dir,
            "capacity": 0,
            "step_timeout_seconds": 600.0,
            "load_timeout_seconds": 600.0,
            "model_folders": {measured_model().id: self.weights},
        }
        spec = TypeAdapter(EngineSpec).validate_python(defaults | fields | self.engine)
        return build_engine(spec, on_progress)

    def delete_converted(self) -> int:
        """Delete the converted copies, so that the next form finds the disk free; return their bytes."""
        size = sum(file.stat().st_size for file in self.models_dir.rglob("*") if file.is_file())
        shutil.rmtree(self.models_dir, ignore_errors=True)
        return size
