"""Skip marks for tests in which torch.compile builds code for the CPU."""

from __future__ import annotations

import pytest
import torch

needs_inductor = pytest.mark.skipif(
    " " in torch.__file__,
    reason="torch.compile does not quote its own path for the linker: it cannot build for the CPU in a path with a space",
)
