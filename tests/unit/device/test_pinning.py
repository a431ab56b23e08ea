"""Pinned memory is not rounded up, and what the user told the allocator stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from worker.device.torch_device import disable_pinned_rounding


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch._C._accelerator_getAllocatorSettings()
    yield
    torch._C._accelerator_setAllocatorSettings(before)


@pytest.mark.parametrize(
    ("told", "then"),
    [
        ("max_split_size_mb:512", "max_split_size_mb:512,pinned_max_cached_size_mb:1"),
        ("pinned_max_cached_size_mb:64", "pinned_max_cached_size_mb:64"),
    ],
)
def test_the_allocator_is_told_once_and_keeps_the_rest(told: str, then: str) -> None:
    torch._C._accelerator_setAllocatorSettings(told)
    for _ in range(2):
        disable_pinned_rounding()
        assert torch._C._accelerator_getAllocatorSettings() == then


def test_a_torch_that_cannot_be_told_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def unknown(_settings: str) -> None:
        raise ValueError("Unrecognized key")

    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", unknown)
    disable_pinned_rounding()
    assert "Unrecognized key" in caplog.text
