"""Tell upscalers by the names of their tensors."""

from __future__ import annotations

from collections.abc import Collection


def upscaler_kind(names: Collection[str]) -> str:
    """Return `ESRGAN`, `ESRGAN (compact)` or `SwinIR`; "" for anything else."""
    bare = {name.removeprefix("params_ema.").removeprefix("params.") for name in names}
    if {"conv_first.weight", "body.0.rdb1.conv1.weight"} <= bare:
        return "ESRGAN"
    if {"model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"} <= bare:
        return "ESRGAN"
    if _swin(bare):
        return "SwinIR"
    if {"body.0.weight", "body.1.weight", "body.2.weight"} <= bare and not bare & {"conv_first.weight", "body.0.0.weight"}:
        return "ESRGAN (compact)"
    return ""


def _swin(bare: set[str]) -> bool:
    table = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
    # HAT and DAT have the same table, and blocks of their own.
    return {"conv_first.weight", table} <= bare and not any(
        ".conv_block." in name or ".overlap_attn." in name for name in bare
    )
