"""The doctor describes GPUs that cannot render, and raises nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.settings import Settings
from tests.unit.device.test_kernels import BUILT, show
from worker.models import doctor

LATER = (8, 6)


def memory_of(monkeypatch: pytest.MonkeyPatch, error: str = "") -> None:
    def measure(_device: object) -> tuple[int, int]:
        if error:
            raise torch.AcceleratorError(error)
        return 7 * 10**9, 8 * 10**9

    monkeypatch.setattr(torch.cuda, "mem_get_info", measure)


def test_a_gpu_that_can_render_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, [LATER], BUILT)
    memory_of(monkeypatch)
    monkeypatch.setattr(doctor, "lacking_for_kernels", lambda: "")
    assert doctor.check_devices(Settings()) == doctor.Check("devices", "ok", "cuda:0 GPU number 0, 7.0 of 8.0 GB free")


def test_a_gpu_that_this_torch_is_not_for_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, [LATER, (6, 1)], BUILT)
    memory_of(monkeypatch)
    found = doctor.check_devices(Settings(device="cuda:1"))
    assert found.status == "problem"
    assert "cuda:0 GPU number 0, 7.0 of 8.0 GB free; torch" in found.detail
    assert "does not support cuda:1" in found.detail
    show(monkeypatch, [(6, 1)], BUILT)
    assert doctor.check_devices(Settings(device="auto")).status == "problem"


@pytest.mark.parametrize("device", ["auto", "cuda:1", "cpu"])
def test_an_old_gpu_that_nothing_renders_on_is_no_problem(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, [(6, 1), LATER], BUILT)
    memory_of(monkeypatch)
    found = doctor.check_devices(Settings(device=device))
    assert found.status == "warning" and "does not support cuda:0" in found.detail


def test_a_gpu_that_its_driver_refuses_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, [LATER], BUILT)
    memory_of(monkeypatch, "CUDA error: all CUDA-capable devices are busy or unavailable\nDetails follow.")
    found = doctor.check_devices(Settings(data_dir=tmp_path))
    assert found.status == "problem"
    assert found.detail == "cuda:0 cannot be used: CUDA error: all CUDA-capable devices are busy or unavailable"
    settings = Settings(data_dir=tmp_path, model="demo", device="cuda")
    assert doctor.check_tier(settings).status == "problem"
    assert {doctor.check_copies(settings).status, doctor.check_cpu(settings).status} == {"ok"}


@pytest.mark.parametrize(
    ("programs", "headers", "lacking"),
    [
        (("gcc",), True, ""),
        (("clang",), True, ""),
        ((), True, "there is no C compiler"),
        (("gcc",), False, "Python's header files are missing"),
    ],
)
def test_what_compiled_blocks_lack_is_said(
    programs: tuple[str, ...], headers: bool, lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(monkeypatch, [LATER], BUILT)
    memory_of(monkeypatch)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if name in programs else None)
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    if headers:
        (tmp_path / "Python.h").touch()
    found = doctor.check_devices(Settings())
    assert found.status == ("warning" if lacking else "ok")
    assert lacking in found.detail
    assert doctor.check_devices(Settings(compile_blocks="off")).status == "ok"
