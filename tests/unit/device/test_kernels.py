"""A GPU that this build of torch has no kernels for is not used."""

from __future__ import annotations

import pytest
import torch

from core.errors import RenderError
from worker.device.torch_device import missing_kernels, resolve_device

BUILT = ["sm_75", "sm_80", "sm_86", "sm_90a", "sm_120", "compute_120"]
Capability = tuple[int, int]


def show(monkeypatch: pytest.MonkeyPatch, capabilities: list[Capability], built: list[str]) -> None:
    """Show torch these GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capabilities[index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU number {index}")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((7, 5), BUILT, True),
        ((8, 9), BUILT, True),
        ((9, 0), BUILT, True),
        ((12, 1), BUILT, True),
        ((13, 0), BUILT, True),
        ((6, 1), BUILT, False),
        ((7, 0), BUILT, False),
        ((10, 0), BUILT, False),
        ((10, 0), ["sm_90", "compute_90"], True),
        ((9, 4), ["gfx90a", "gfx942"], True),
        ((8, 0), [], True),
    ],
)
def test_kernels_run_on_later_gpus_of_their_major_version(
    capability: Capability, built: list[str], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(monkeypatch, [capability], built)
    assert (missing_kernels(0) == "") is runs


def test_auto_passes_over_a_gpu_without_kernels(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    show(monkeypatch, [(6, 1), (8, 6)], BUILT)
    assert resolve_device("auto") == torch.device("cuda:1")
    assert "does not support cuda:0, GPU number 0: its compute capability is 6.1, and this build is for 7.5" in caplog.text
    show(monkeypatch, [(6, 1)], BUILT)
    assert resolve_device("auto") == torch.device("cpu")
    show(monkeypatch, [], BUILT)
    assert resolve_device("auto") == torch.device("cpu")


def test_a_named_gpu_without_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, [(6, 1), (8, 6)], BUILT)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(RenderError, match=r"does not support cuda:0.*or set IMAGEFARM_DEVICE=cpu") as refused:
        resolve_device("cuda")
    assert refused.value.code == "invalid_input"
    with pytest.raises(RenderError, match="There is no cuda:2 here: torch sees 2 CUDA devices"):
        resolve_device("cuda:2")
