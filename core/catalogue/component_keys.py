"""Which tensors of a weight file belong to which component, by the prefixes of their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from core.catalogue.recognise.parts import DENOISER_PREFIXES, TEXT_PREFIXES, VAE_PREFIXES

PREFIXES: Mapping[str, tuple[str, ...]] = {
    "transformer": DENOISER_PREFIXES,
    "unet": DENOISER_PREFIXES,
    "vae": VAE_PREFIXES,
    "text_encoder": tuple(prefix for prefix, component in TEXT_PREFIXES if component == "text_encoder"),
    "text_encoder_2": tuple(prefix for prefix, component in TEXT_PREFIXES if component == "text_encoder_2"),
}
"""By component; the first that a name has counts."""
_OF_A_CHECKPOINT = tuple({each for prefixes in PREFIXES.values() for each in prefixes if each} - {"transformer."})
"""Prefixes that show that a file holds several components; a text encoder's own names may begin with the one left out."""


def component_keys(names: Iterable[str], component: str) -> dict[str, str]:
    """Map each name of that component without its prefix to its name in the file; a file without prefixes is one component.

    Empty when the file has prefixes, but none of that component.
    """
    known = list(names)
    for prefix in filter(None, PREFIXES[component]):
        if found := {name.removeprefix(prefix): name for name in known if name.startswith(prefix)}:
            return found
    return {} if any(name.startswith(_OF_A_CHECKPOINT) for name in known) else {name: name for name in known}
