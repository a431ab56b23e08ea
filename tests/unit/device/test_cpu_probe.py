"""The measurement of a CPU: kept per machine, and what a CPU without bf16 instructions leads to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.farm import clean_environment
from worker.device import cpu_probe
from worker.device.cpu_probe import CpuSpeed, cpu_speed, measure

CHOICE = """
import json
from worker.device.cpu_probe import machine_key, measure
from worker.memory.cpu_form import by_speed
speed = measure(0.3)
print(json.dumps([machine_key(), speed.bfloat16, speed.float32, by_speed(["bfloat16", "float32"], speed)]))
"""


def test_all_three_forms_are_measured() -> None:
    speed = measure(0.01)
    assert min(speed.bfloat16, speed.float32, speed.int8) > 0
    assert "GFLOP/s" in speed.describe()


def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [CpuSpeed(3.0, 2.0, 1.0), CpuSpeed(6.0, 5.0, 4.0)]
    monkeypatch.setattr(cpu_probe, "measure", lambda: answers.pop(0))
    assert cpu_speed(tmp_path) == cpu_speed(tmp_path) == CpuSpeed(3.0, 2.0, 1.0)
    monkeypatch.setattr(cpu_probe, "machine_key", lambda: "another machine")
    assert cpu_speed(tmp_path).bfloat16 == 6.0
    assert len(json.loads((tmp_path / "cpu.json").read_text())["cpus"]) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"probe": 0, "cpus": {}}', '{"probe": 1, "cpus": {"x": {"a": 1}}}'])
def test_a_file_of_another_version_is_measured_again(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.json").write_text(content)
    monkeypatch.setattr(cpu_probe, "measure", lambda: CpuSpeed(3.0, 2.0, 1.0))
    assert cpu_speed(tmp_path).bfloat16 == 3.0


def test_a_cpu_without_bf16_instructions_computes_in_fp32() -> None:
    """With AVX2 alone, bf16 is converted for every product, which takes several times as long."""
    done = subprocess.run(
        [sys.executable, "-c", CHOICE],
        env=clean_environment(ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2"),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    key, bfloat16, float32, order = json.loads(done.stdout)
    assert "AVX2" in key
    assert order == ["float32", "bfloat16"], f"bf16 {bfloat16}, fp32 {float32}"
