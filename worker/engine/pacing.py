"""Keeps the loop at most one step ahead of the device, so that times, cancels and errors mean what they say."""

from __future__ import annotations

from typing import Any

import torch


class Pacer:
    """On CUDA, steps are only queued when the call returns; on the CPU this does nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._last: Any = None

    def after_step(self) -> None:
        """Wait for the step before the one that was just queued: the device never idles, the queue never grows."""
        if not self._is_cuda:
            return
        # Waiting for it puts the thread to sleep: spinning would take a core from text encoders on the CPU.
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        if self._last is not None:
            self._last.synchronize()
        self._last = event

    def settle(self) -> None:
        """Wait for all that was queued."""
        if self._is_cuda and self._last is not None:
            self._last.synchronize()
            self._last = None
