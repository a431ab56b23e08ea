"""Which tensors of a weight file belong to which component, by the prefixes of their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_QWEN = ("qwen3_4b", "qwen3_8b", "qwen25_7b")
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "transformer": ("model.diffusion_model.", "diffusion_model."),
    "unet": ("model.diffusion_model.", "diffusion_model."),
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": (
        "cond_stage_model.transformer.",
        "cond_stage_model.model.",
        "conditioner.embedders.0.transformer.",
        "text_encoders.clip_l.transformer.",
        "text_encoders.clip_h.transformer.",
        *(f"text_encoders.{name}.{part}" for name in _QWEN for part in ("transformer.", "")),
    ),
    "text_encoder_2": ("conditioner.embedders.1.model.", "text_encoders.clip_g.transformer."),
}
"""Prefixes in checkpoints of the original Stable Diffusion code and of ComfyUI, by component, the first match wins."""
_ALL = tuple({prefix for prefixes in PREFIXES.values() for prefix in prefixes})


def component_keys(names: Iterable[str], component: str) -> dict[str, str]:
    """Map each name of that component without its prefix to its name in the file; a file without prefixes is one component.

    Empty when the file has prefixes, but none of that component.
    """
    known = list(names)
    for prefix in PREFIXES[component]:
        if found := {name.removeprefix(prefix): name for name in known if name.startswith(prefix)}:
            return found
    return {} if any(name.startswith(_ALL) for name in known) else {name: name for name in known}
