"""Measure what this CPU multiplies fastest, for about two seconds, once per machine and version of torch."""

from __future__ import annotations

import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional

from worker.device.unpacked_product import unpacked_product

log = logging.getLogger(__name__)
FILE_NAME = "cpu.json"
PROBE_VERSION = 3
"""Increase it when the measurement changes: stored results of other versions are ignored."""
ROWS, WIDTH = 256, 2048
"""Of the measured product: 2.1 GFLOP, as large as caches are small, as in a transformer."""
SECONDS_PER_FORM = 0.5
MIN_CALLS = 2


@dataclass(frozen=True)
class CpuSpeed:
    """GFLOP/s (10^9 multiplications and additions a second) of a large matrix product.

    `int8`: weights in 8 bits that are unpacked to the faster of the other two at each use. `int8_product`: the same weights,
    multiplied in 8 bits, with the rounding of the activations; 0 where this CPU's sums are not exact.
    """

    bfloat16: float
    float32: float
    int8: float
    int8_product: float = 0.0

    def of(self, dtype: str) -> float:
        """Return the speed of `bfloat16`, `float32` or `int8`."""
        return float(getattr(self, dtype))

    def describe(self) -> str:
        """Return one line for logs and `imagefarm doctor`."""
        int8 = f"int8 weights {self.int8:.0f} unpacked and {self.int8_product:.0f} multiplied"
        return f"bf16 {self.bfloat16:.0f}, fp32 {self.float32:.0f}, {int8} GFLOP/s"


def measure(seconds_per_form: float = SECONDS_PER_FORM) -> CpuSpeed:
    """Measure with torch's present threads; takes about four times `seconds_per_form`."""
    generator = torch.Generator("cpu").manual_seed(0)
    rows = torch.randn(ROWS, WIDTH, generator=generator)
    weight = torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    speeds = {
        dtype: _speed(_product(rows.to(dtype), weight.to(dtype)), seconds_per_form)
        for dtype in (torch.bfloat16, torch.float32)
    }
    fastest = max(speeds, key=lambda dtype: speeds[dtype])
    packed, scale, inputs = (
        (weight * 127).clamp(-127, 127).to(torch.int8),
        torch.ones(WIDTH, dtype=fastest),
        rows.to(fastest),
    )
    int8 = _speed(
        lambda: unpacked_product(inputs, WIDTH, lambda some: packed[some].to(fastest)).mul_(scale), seconds_per_form
    )
    exact = int8_sums_are_exact()
    product = _speed(lambda: _int8_product(inputs, packed, scale), seconds_per_form) if exact else 0.0
    found = (speeds[torch.bfloat16], speeds[torch.float32], int8, product)
    return CpuSpeed(*(round(each, 1) for each in found))


def _int8_product(rows: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """Do what the packed layers do: round each row with a scale of its own, multiply and scale back."""
    rows_scale = torch.linalg.vector_norm(rows.float(), float("inf"), dim=1, keepdim=True) / 127
    steps = (rows / rows_scale).round_().to(torch.int8)
    sums: torch.Tensor = torch._int_mm(steps, weight.t())
    product: torch.Tensor = (sums * rows_scale).mul_(weight_scale.float())
    return product.to(rows.dtype)


def int8_sums_are_exact() -> bool:
    """Return whether products of the largest 8-bit numbers sum up exactly: some instructions saturate at 16 bits."""
    largest = torch.full((32, 256), 127, dtype=torch.int8)
    sums = [torch._int_mm(rows, largest.t()) for rows in (largest, -largest)]
    return all(bool((found == sign * 127 * 127 * 256).all()) for found, sign in zip(sums, (1, -1), strict=True))


def _product(rows: torch.Tensor, weight: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: functional.linear(rows, weight)


@torch.no_grad()
def _speed(product: Callable[[], torch.Tensor], seconds: float) -> float:
    """Return GFLOP/s of the best call within the time: other work on the machine only makes calls slower."""
    end, best, calls = time.perf_counter() + seconds, float("inf"), 0
    while calls < MIN_CALLS or time.perf_counter() < end:
        started = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - started)
        calls += 1
    return 2 * ROWS * WIDTH * WIDTH / best / 1e9


def cpu_speed(models_dir: Path) -> CpuSpeed:
    """Return this CPU's speeds, from the models folder if they were measured there before."""
    key, path = machine_key(), models_dir / FILE_NAME
    stored = _read(path)
    if (known := stored.get(key)) is not None:
        return known
    started = time.perf_counter()
    speed = measure()
    log.info("measured this CPU in %.1f s: %s", time.perf_counter() - started, speed.describe())
    try:
        _write(path, {**stored, key: speed})
    except OSError as error:
        log.warning("the measurement of this CPU cannot be kept in %s: %s", path, error)
    return speed


def machine_key() -> str:
    """Return what a measurement depends on: processor, instructions that torch uses, threads, version of torch."""
    capability = os.environ.get("ONEDNN_MAX_CPU_ISA", torch.backends.cpu.get_cpu_capability())
    return "|".join((_processor(), capability, f"{torch.get_num_threads()} threads", f"torch {torch.__version__}"))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _read(path: Path) -> dict[str, CpuSpeed]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["probe"] != PROBE_VERSION:
            return {}
        return {
            str(key): CpuSpeed(**{name: float(value) for name, value in row.items()}) for key, row in data["cpus"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(path: Path, speeds: dict[str, CpuSpeed]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".cpu.", suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        rows = {key: asdict(speed) for key, speed in speeds.items()}
        json.dump({"probe": PROBE_VERSION, "cpus": rows}, file, indent=1, sort_keys=True)
    Path(name).replace(path)
