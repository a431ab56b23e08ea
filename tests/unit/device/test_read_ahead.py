"""Mapped weights are read into this process before they are used."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from worker.device import read_ahead as module
from worker.device.read_ahead import read_ahead, read_ahead_while

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's read-ahead is only used on Linux")
SIDE = 2048


def mapped(folder: Path) -> nn.Linear:
    """Return a layer whose weight of 16 MiB is mapped from a file and was not read yet."""
    save_file({"weight": torch.ones(SIDE, SIDE)}, folder / "layer.safetensors")
    with torch.device("meta"):
        layer = nn.Linear(SIDE, SIDE, bias=False)
    layer.load_state_dict(load_file(folder / "layer.safetensors"), assign=True)
    return layer


def resident_file_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssFile")).split()[1]) * 1024


def test_all_pages_of_the_weights_are_entered(tmp_path: Path) -> None:
    layer = mapped(tmp_path)
    before = resident_file_bytes()
    assert read_ahead(layer) >= layer.weight.nbytes
    assert resident_file_bytes() - before > 0.9 * layer.weight.nbytes
    assert float(layer.weight.detach().sum()) == SIDE * SIDE


def test_it_starts_once_with_the_first_use_of_the_other_component(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[nn.Module] = []
    done = threading.Event()

    def note(read_module: nn.Module) -> int:
        read.append(read_module)
        done.set()
        return 0

    monkeypatch.setattr(module, "read_ahead", note)
    encoder, denoiser = nn.Linear(2, 2), nn.Linear(2, 2)
    read_ahead_while(encoder, denoiser)
    assert not read
    for _ in range(2):
        encoder(torch.zeros(1, 2))
    assert done.wait(120)
    assert read == [denoiser]
    assert not encoder._forward_pre_hooks
