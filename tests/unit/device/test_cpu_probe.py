"""The measurement of a CPU, kept per machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from worker.device import cpu_probe
from worker.device.cpu_probe import CpuSpeed, cpu_speed, int8_sums_are_exact, measure


def test_all_forms_are_measured() -> None:
    speed = measure(0.01)
    assert min(speed.bfloat16, speed.float32, speed.int8) > 0
    assert (speed.int8_product > 0) is int8_sums_are_exact()
    assert "GFLOP/s" in speed.describe()


def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [CpuSpeed(3.0, 2.0, 1.0), CpuSpeed(6.0, 5.0, 4.0)]
    monkeypatch.setattr(cpu_probe, "measure", lambda: answers.pop(0))
    assert cpu_speed(tmp_path) == cpu_speed(tmp_path) == CpuSpeed(3.0, 2.0, 1.0)
    monkeypatch.setattr(cpu_probe, "machine_key", lambda: "another machine")
    assert cpu_speed(tmp_path).bfloat16 == 6.0
    assert len(json.loads((tmp_path / "cpu.json").read_text())["cpus"]) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"probe": 0, "cpus": {}}', '{"probe": 3, "cpus": {"x": {"a": 1}}}'])
def test_a_file_of_another_version_is_measured_again(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.json").write_text(content)
    monkeypatch.setattr(cpu_probe, "measure", lambda: CpuSpeed(3.0, 2.0, 1.0))
    assert cpu_speed(tmp_path).bfloat16 == 3.0


def test_saturating_sums_are_noticed_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some instructions add pairs of products in 16 bits."""
    exact = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda rows, weight: exact(rows, weight).clamp(-(2**15), 2**15 - 1))
    assert not int8_sums_are_exact()
    assert measure(0.01).int8_product == 0
