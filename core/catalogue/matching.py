"""Match weight files into models: which shipped row a file is like, and which text encoder and VAE complete it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.catalogue.catalogue import Architecture, Component
from core.catalogue.recognise import read_header
from core.catalogue.weight_file import WeightFile
from core.catalogue.weight_headers import HeaderError

COMPONENTS: Mapping[Architecture, tuple[Component, ...]] = {
    "z-image": ("transformer", "text_encoder", "vae"),
    "sd15": ("unet", "text_encoder", "vae"),
    "sd21": ("unet", "text_encoder", "vae"),
    "sdxl": ("unet", "text_encoder", "text_encoder_2", "vae"),
    "flux2-klein": ("transformer", "text_encoder", "vae"),
    "qwen-image": ("transformer", "text_encoder", "vae"),
}
"""The components that have weights, for each architecture; the first one is the denoiser."""
EXAMPLES: Mapping[tuple[Architecture, Component], str] = {
    ("z-image", "text_encoder"): "Qwen3-4B, such as qwen_3_4b.safetensors or a GGUF file of it",
    ("z-image", "vae"): "Flux.1's VAE, such as ae.safetensors",
    ("flux2-klein", "text_encoder"): "Qwen3-4B, such as qwen_3_4b.safetensors",
    ("flux2-klein", "vae"): "FLUX.2's VAE, such as flux2-vae.safetensors",
    ("qwen-image", "text_encoder"): "Qwen2.5-VL-7B, such as qwen_2.5_vl_7b.safetensors",
    ("qwen-image", "vae"): "qwen_image_vae.safetensors",
    ("sdxl", "text_encoder"): "clip_l.safetensors",
    ("sdxl", "text_encoder_2"): "clip_g.safetensors",
    ("sdxl", "vae"): "sdxl_vae.safetensors",
    ("sd15", "text_encoder"): "clip_l.safetensors",
    ("sd15", "vae"): "vae-ft-mse-840000-ema-pruned.safetensors",
}
NAMES: Mapping[Component, str] = {
    "transformer": "transformer",
    "unet": "UNet",
    "text_encoder": "text encoder",
    "text_encoder_2": "second text encoder",
    "vae": "VAE",
}
_TITLE_KEYS = ("modelspec.title", "modelspec.architecture", "general.name", "general.basename", "ss_base_model_version")
_PREFERENCE = ("bf16", "fp16", "fp32", "mixed", "fp8-scaled", "fp8", "BF16", "F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K")


@dataclass(frozen=True)
class Base:
    """The shipped row that a file is like. `reason` says for people how that is known, or that it is assumed."""

    row: str
    reason: str


@dataclass(frozen=True)
class _Rule:
    pattern: str
    row: str
    what: str


_BASE_NAMES = r"base|undistilled|^z[-_ .]?image(?:[-_.](?:bf16|f16|fp\d+|e4m3fn|q\d\w*|safetensors|gguf))*$"
"""Fine-tuned files without "turbo" in their name are mostly Turbo's, so only the plain name counts as the base model's."""
_RULES: Mapping[Architecture, tuple[tuple[_Rule, ...], _Rule]] = {
    "z-image": (
        (_Rule(r"turbo", "z-image-turbo", "Turbo"), _Rule(_BASE_NAMES, "z-image", "the base model")),
        _Rule("", "z-image-turbo", "Turbo (8 steps, no guidance)"),
    ),
    "sd15": ((), _Rule("", "sd15", "Stable Diffusion 1.5")),
    "sd21": ((_Rule(r"turbo", "sd-turbo", "Turbo"),), _Rule("", "sd21", "Stable Diffusion 2.1 for 768 px (v-prediction)")),
    "sdxl": ((_Rule(r"turbo", "sdxl-turbo", "Turbo"),), _Rule("", "sdxl", "an ordinary SDXL model")),
    "flux2-klein": ((), _Rule("", "flux2-klein-4b", "FLUX.2 klein 4B")),
    "qwen-image": ((), _Rule("", "qwen-image", "Qwen-Image")),
}


def base_of(file: WeightFile, architecture: Architecture) -> Base:
    """Return the shipped row that a file's name or metadata points to, else the usual one of its architecture."""
    rules, usual = _RULES[architecture]
    for source, text in _descriptions(file):
        for rule in rules:
            if re.search(rule.pattern, text.lower()):
                return Base(rule.row, f"its {source} says that it is {rule.what}")
    if not rules:
        return Base(usual.row, f"it is {usual.what}")
    return Base(usual.row, f"assumed to be {usual.what}, since neither name nor metadata say otherwise")


def _descriptions(file: WeightFile) -> list[tuple[str, str]]:
    found = [("name", file.path.name)]
    if file.container in ("safetensors", "gguf") and file.path.is_file():
        try:
            metadata = read_header(file.path).metadata
        except (HeaderError, OSError):
            return found
        found += [("metadata", str(metadata[key])) for key in _TITLE_KEYS if metadata.get(key)]
    return found


def settings_of(file: WeightFile, base: Base) -> dict[str, object]:
    """Return fields that differ from the base's row and can be told from the file, to write into the new row."""
    if file.path.is_dir():
        return {}
    name = file.path.name.lower()
    if base.row == "sd21" and re.search(r"(?:^|[^0-9])512(?:[^0-9]|$)|base", name):
        scheduler = {"cls": "PNDMScheduler", "config": {"prediction_type": "epsilon"}}
        return {"scheduler": scheduler, "defaults": {"width": 512, "height": 512}}
    if base.row == "sdxl" and "v_pred" in _names(file):
        config = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
        return {"scheduler": {"cls": "EulerDiscreteScheduler", "config": config}}
    return {}


def _names(file: WeightFile) -> frozenset[str]:
    try:
        return frozenset(read_header(file.path).tensors)
    except (HeaderError, OSError):
        return frozenset()


@dataclass(frozen=True)
class Match:
    """`files`: component -> file. `missing`: components for which no file was found."""

    architecture: Architecture
    files: Mapping[Component, WeightFile]
    missing: tuple[Component, ...]

    def sentence(self) -> str:
        """Return what is missing and which files would do; "" when nothing is."""
        texts = []
        for component in self.missing:
            example = EXAMPLES.get((self.architecture, component))
            texts.append(f"a {NAMES[component]}" + (f" ({example})" if example else ""))
        return f"What is missing: {', '.join(texts)}" if texts else ""


def complete(
    main: WeightFile, named: Mapping[Component, WeightFile], others: Iterable[WeightFile], near: Path | None = None
) -> Match:
    """Return the main file's model with the components that it lacks, taken from `named`, else from the best of `others`.

    `near`: a folder whose files are preferred.
    """
    architecture = main.architectures[0]
    found: dict[Component, WeightFile] = {}
    pool = list(others)
    for component in COMPONENTS[architecture]:
        if component in named:
            found[component] = named[component]
        elif component in main.components:
            found[component] = main
        elif best := _best(pool, architecture, component, main, near):
            found[component] = best
    return Match(architecture, found, tuple(each for each in COMPONENTS[architecture] if each not in found))


def _best(
    pool: list[WeightFile], architecture: Architecture, component: Component, main: WeightFile, near: Path | None
) -> WeightFile | None:
    fitting = [
        file
        for file in pool
        if file.kind == "component" and architecture in file.architectures and component in file.components
    ]

    def rank(file: WeightFile) -> tuple[object, ...]:
        precision = _PREFERENCE.index(file.precision) if file.precision in _PREFERENCE else len(_PREFERENCE)
        return (
            near is None or near not in file.path.parents,
            # A packed denoiser means that memory is scarce: a packed text encoder suits it too.
            component == "text_encoder" and (file.container == "gguf") != (main.container == "gguf"),
            len(file.architectures),
            "sd3" in file.path.name.lower(),
            precision,
            str(file.path),
        )

    return min(fitting, key=rank, default=None)
