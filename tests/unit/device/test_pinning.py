"""Pinned memory is not rounded up, and the user's allocator settings are kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from worker.device.torch_device import disable_pinned_rounding


@pytest.fixture(autouse=True)
def restored_settings() -> Iterator[None]:
    before = torch._C._accelerator_getAllocatorSettings()
    yield
    torch._C._accelerator_setAllocatorSettings(before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("max_split_size_mb:512", "max_split_size_mb:512,pinned_max_cached_size_mb:1"),
        ("pinned_max_cached_size_mb:64", "pinned_max_cached_size_mb:64"),
    ],
)
def test_the_setting_is_added_once_and_others_are_kept(before: str, after: str) -> None:
    torch._C._accelerator_setAllocatorSettings(before)
    for _ in range(2):
        disable_pinned_rounding()
        assert torch._C._accelerator_getAllocatorSettings() == after


def test_a_torch_without_the_setting_is_accepted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def unknown(_settings: str) -> None:
        raise ValueError("Unrecognized key")

    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", unknown)
    disable_pinned_rounding()
    assert "Unrecognized key" in caplog.text
