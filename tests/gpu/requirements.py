"""Marks and skips for tests that need a GPU."""

from __future__ import annotations

import pytest
import torch

needs_a_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch sees none"),
]


def skip_below(capability: tuple[int, int]) -> None:
    """Skip on a GPU of lower compute capability, naming both."""
    found = torch.cuda.get_device_capability()
    if found < capability:
        pytest.skip(f"needs a GPU of compute capability {capability[0]}.{capability[1]}; this one has {found[0]}.{found[1]}")
