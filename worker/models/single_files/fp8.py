"""Stand-in until FP8 files can be loaded."""

from __future__ import annotations

from pathlib import Path

import torch

from core.catalogue.weight_file import WeightFile
from core.errors import RenderError


def load_fp8(component: str, file: WeightFile, configs: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Refuse the file."""
    raise RenderError(f"{file.path} is stored in FP8, which cannot be loaded yet.", code="model_unavailable")
