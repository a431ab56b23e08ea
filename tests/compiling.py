"""Skip marks for tests in which torch.compile builds code for the CPU."""

from __future__ import annotations

import os

import pytest
import torch

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # More are processes, each of which imports torch.

needs_inductor = pytest.mark.skipif(
    " " in torch.__file__,
    reason="torch.compile does not quote its own path for the linker: it cannot build for the CPU in a path with a space",
)
