"""Sizes are read from headers; host memory from the kernel and the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.catalogue import load_catalogue
from tests.unit.models.diffusers_folder import write_model
from worker.device import machine
from worker.memory.sizes import read_sizes, sizes_of_row

TURBO = load_catalogue().get("z-image-turbo")


def test_matrices_are_counted_separately(tmp_path: Path) -> None:
    sizes = read_sizes(write_model(tmp_path), TURBO)
    assert {part.name: (part.matrices, part.others, part.largest) for part in sizes.components} == {
        "transformer": (32, 20, 32),
        "text_encoder": (32, 20, 32),
        "vae": (32, 20, 32),
    }
    assert (sizes.width, sizes.of("denoiser")) == (64, 52)


def test_the_catalogue_has_sizes_without_weights() -> None:
    assert sizes_of_row(TURBO).of("denoiser") == 6_154_908_736


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:   50 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", meminfo)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.available_bytes() == 50 * 1024
    (tmp_path / "memory.max").write_text("30000\n")
    (tmp_path / "memory.current").write_text("10000\n")
    assert machine.available_bytes() == 20000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.available_bytes() == 50 * 1024
