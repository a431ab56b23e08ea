"""What a worker counts of its images, and what it reads from NVIDIA's library."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from core.render import RenderRecord, RenderTimings
from tests.unit.runner.test_engine_times import INFO
from worker.device.nvml import GpuReader
from worker.engine.messages import Rendered
from worker.runner.metrics import WorkerTotals

UUID = "GPU-1a2b"


class ManagementLibrary:
    """NVIDIA's library for one GPU: the functions of its C interface, with a status as their result."""

    def nvmlInit_v2(self) -> int:  # noqa: N802 -- the library's names
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802, ANN401
        handle._obj.value = 7
        return 0 if uuid == UUID.encode() else 6

    def nvmlDeviceGetMemoryInfo(self, _handle: Any, memory: Any) -> int:  # noqa: N802, ANN401
        memory._obj.total, memory._obj.used = 1000, 250
        return 0

    def nvmlDeviceGetUtilizationRates(self, _handle: Any, load: Any) -> int:  # noqa: N802, ANN401
        load._obj.gpu = 80
        return 0

    def nvmlDeviceGetTemperature(self, _handle: Any, sensor: int, number: Any) -> int:  # noqa: N802, ANN401
        number._obj.value = 63 + sensor
        return 0

    def nvmlDeviceGetPowerUsage(self, _handle: Any, number: Any) -> int:  # noqa: N802, ANN401
        return 3  # NVML_ERROR_NOT_SUPPORTED

    def nvmlDeviceGetTotalEnergyConsumption(self, _handle: Any, energy: Any) -> int:  # noqa: N802, ANN401
        energy._obj.value = 12_500
        return 0


def rendered(*batch_sizes: int, seconds: float) -> Rendered:
    record = RenderRecord(
        family="z-image",
        device="cpu",
        dtype="float32",
        memory_policy="cpu",
        attention_backend="native",
        versions={},
        batch_sizes=list(batch_sizes),
        pipeline_guidance_scale=1.0,
    )
    return Rendered("j/1/0", 64, 32, b"", record, RenderTimings(steps_seconds=seconds))


def test_a_step_of_two_images_counts_once() -> None:
    totals = WorkerTotals()
    for _ in range(2):
        totals.record_image("demo", rendered(2, 2, seconds=0.4))
    found = totals.report()["totals"]["demo"]
    assert (found["images"], found["pixels"]) == (2, 2 * 64 * 32)
    assert found["step_seconds"]["sum"] == pytest.approx(0.4)
    assert found["step_seconds"]["buckets"][-1] == ["+Inf", 2]
    assert dict(found["step_seconds"]["buckets"])[0.1] == 0
    assert dict(found["step_seconds"]["buckets"])[0.25] == 2
    assert found["micro_batch"]["sum"] == pytest.approx(4)
    assert dict(found["micro_batch"]["buckets"])[1] == 0
    assert dict(found["micro_batch"]["buckets"])[2] == 2


def test_the_cold_start_ends_when_the_first_model_is_ready() -> None:
    totals = WorkerTotals()
    assert "cold_start_seconds" not in totals.report()
    totals.note_ready(INFO)
    first = totals.report()["cold_start_seconds"]
    totals.note_ready(INFO)
    assert totals.report()["cold_start_seconds"] == first


def test_a_gpu_reports_what_its_driver_supports() -> None:
    totals = WorkerTotals(GpuReader(ManagementLibrary))
    totals.note_ready(replace(INFO, device_uuid=UUID))
    assert totals.report()["gpu"] == {
        "memory_used_bytes": 250,
        "memory_total_bytes": 1000,
        "utilization": 0.8,
        "temperature_celsius": 63,
        "energy_joules": 12.5,
    }


def test_a_gpu_that_the_library_does_not_know_reports_nothing() -> None:
    assert GpuReader(ManagementLibrary).read("GPU-other") == {}


def test_a_part_of_a_divided_gpu_is_found_by_the_librarys_name_for_it() -> None:
    class Divided(ManagementLibrary):
        def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802, ANN401
            handle._obj.value = 7
            return 0 if uuid == b"MIG-1a2b" else 6

        def nvmlDeviceGetUtilizationRates(self, _handle: Any, load: Any) -> int:  # noqa: N802, ANN401
            return 3  # Not for parts.

    assert GpuReader(Divided).read(UUID)["memory_used_bytes"] == 250


def test_a_driver_that_hangs_does_not_keep_heartbeats_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    class Hanging(ManagementLibrary):
        def nvmlDeviceGetTemperature(self, _handle: Any, sensor: int, number: Any) -> int:  # noqa: N802, ANN401
            answers.wait(60)
            return super().nvmlDeviceGetTemperature(_handle, sensor, number)

    monkeypatch.setattr("worker.device.nvml.READ_SECONDS", 0.2)
    reader, started = GpuReader(Hanging), time.monotonic()
    assert [reader.read(UUID) for _ in range(20)] == [{}] * 20
    assert time.monotonic() - started < 2, "only the first read waits"
    answers.set()
    assert reader._reading is not None
    reader._reading.join()
    assert reader.read(UUID)["temperature_celsius"] == 63


def test_without_the_library_nothing_is_reported() -> None:
    def missing() -> object:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    reader = GpuReader(missing)
    assert (reader.read(UUID), reader.read(UUID)) == ({}, {})
