"""Choose the dtype that a model computes in on a device."""

from __future__ import annotations

import torch

from core.catalogue import CatalogueModel
from core.errors import RenderError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def choose_dtype(model: CatalogueModel, device: torch.device, wanted: str = "auto") -> torch.dtype:
    """Return the first of the catalogue row's dtypes that the device supports well, or the one named by `wanted`.

    Raise RenderError `invalid_input` for a dtype that the row does not list. fp16 is for accelerators only (on a CPU it is
    an order of magnitude slower than bf16), and only for models whose row lists it: Z-Image overflows in fp16 to black
    images, so its rows do not.
    """
    if wanted != "auto":
        if wanted not in model.dtypes:
            allowed = ", ".join(model.dtypes)
            raise RenderError(f"{model.id} cannot compute in {wanted}; it can in {allowed}.", code="invalid_input")
        return DTYPES[wanted]
    return DTYPES[next(name for name in model.dtypes if _suits(name, device))]


def _suits(name: str, device: torch.device) -> bool:
    if device.type != "cuda":
        return name != "float16"
    return name != "bfloat16" or torch.cuda.is_bf16_supported()


def dtype_name(dtype: torch.dtype) -> str:
    """Return the dtype's name without torch's prefix: `bfloat16` for torch.bfloat16."""
    return str(dtype).removeprefix("torch.")
