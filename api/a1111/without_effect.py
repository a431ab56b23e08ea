"""Name the settings of an A1111 client's request that have no effect on this farm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from core.schemas.a1111 import Img2Img, Txt2Img

CHECKPOINT = "sd_model_checkpoint"
SAMPLERS = ("Euler", "euler")
_SCHEDULERS = (None, "", "automatic", "Automatic", "simple", "Simple")
_OFF: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "restore_faces": (False, None),
        "tiling": (False, None),
        "script_name": (None, "", "None"),
        "refiner_checkpoint": (None, "", "None"),
        "clip_skip": (None, 0, 1),
        "seed_resize_from_w": (None, -1, 0),
        "seed_resize_from_h": (None, -1, 0),
        "firstphase_width": (None, 0),
        "firstphase_height": (None, 0),
        "initial_noise_multiplier": (None, 1),
        "image_cfg_scale": (None, 0, 1.5),
        "eta": (None, 0),
        "s_churn": (None, 0),
        "s_tmin": (None, 0),
        "s_tmax": (None, 0),
        "s_noise": (None, 0, 1),
        "s_min_uncond": (None, 0),
    }
)
"""Fields of features that the farm does not have, with the values that leave the feature off."""
_OFF_WITH_HIRES: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "hr_prompt": (None, ""),
        "hr_negative_prompt": (None, ""),
        "hr_checkpoint_name": (None, "", "None", "Use same checkpoint"),
        "hr_sampler_name": (None, "", "Use same sampler", *SAMPLERS),
        "hr_scheduler": (None, "", "Use same scheduler", *_SCHEDULERS),
    }
)
_OFF_SETTINGS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "CLIP_stop_at_last_layers": (None, 0, 1),
        "sd_vae": (None, "", "None", "Automatic"),
        "samples_format": (None, "", "png"),
    }
)
_SYNTAX: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "weights such as (a:1.3) have no effect: the prompt is read as it is.": re.compile(
            r"\([^()]{1,500}:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)"
        ),
        "prompt editing such as [a:b:0.5] has no effect: the prompt is read as it is.": re.compile(
            r"\[[^\[\]:]{0,500}:(?:[^\[\]:]{0,500}:)?\s*(?:\d+\.?\d*|\.\d+)\s*\]"
        ),
        "BREAK has no effect: the prompt is one text.": re.compile(r"\bBREAK\b"),
        "AND has no effect: the prompt is one text.": re.compile(r"\sAND\s"),
        "hypernetworks are not offered.": re.compile(r"<hypernet:[^<>]{0,200}>", re.IGNORECASE),
    }
)


def ignored_fields(wanted: Txt2Img) -> list[str]:
    """Return a sentence for each requested feature that the farm does not have."""
    sent = wanted.model_dump()
    off_values = {**_OFF, **(_OFF_WITH_HIRES if wanted.enable_hr and not isinstance(wanted, Img2Img) else {})}
    found = [f"{name} has no effect here." for name, off in off_values.items() if sent.get(name) not in off]
    if isinstance(wanted, Img2Img) and wanted.resize_mode not in (None, 0, 1, 2):
        found.append("resize_mode has no effect here: the image is stretched.")
    if isinstance(wanted, Img2Img) and wanted.enable_hr:
        found.append("enable_hr has no effect on img2img.")
    scripts = [name for name, script in (wanted.alwayson_scripts or {}).items() if _is_enabled(script)]
    found += [f"alwayson_scripts: there is no script '{name}' here." for name in scripts]
    sampler = wanted.sampler_name or wanted.sampler_index
    if sampler and sampler not in SAMPLERS:
        found.append(f"sampler_name '{sampler}' has no effect: each model renders with its own scheduler.")
    if wanted.scheduler not in _SCHEDULERS:
        found.append(f"scheduler '{wanted.scheduler}' has no effect: each model renders with its own.")
    settings = wanted.override_settings or {}
    others = [name for name in sorted(set(settings) - {CHECKPOINT}) if settings[name] not in _OFF_SETTINGS.get(name, ())]
    found += [f"override_settings: {name} has no effect here." for name in others]
    texts = f"{wanted.prompt}\n{wanted.negative_prompt or ''}"
    return found + [sentence for sentence, pattern in _SYNTAX.items() if pattern.search(texts)]


def _is_enabled(script: Any) -> bool:  # noqa: ANN401 -- any JSON value
    """Return whether a script is enabled; clients send empty or disabled ones with every request."""
    arguments = script.get("args") if isinstance(script, dict) else script
    return arguments not in (None, [], [False], {})
