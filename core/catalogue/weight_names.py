"""Parse names of weight files, and choose which set of a component's files to load."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SHARD = r"-\d{5}-of-\d{5}"
_FILE = re.compile(
    rf"(?P<base>\w+)(?:\.(?P<variant>\w+))?(?P<shard>{_SHARD})?(?:\.(?P<late>\w+))?\.(?P<suffix>safetensors|bin)"
)
_INDEX = re.compile(r"(?P<base>\w+)\.(?P<suffix>safetensors|bin)\.index(?:\.(?P<variant>\w+))?\.json")


@dataclass(frozen=True)
class WeightSet:
    """A set of files that together hold a component's weights once; `variant` is None for plain names."""

    variant: str | None
    suffix: str


@dataclass(frozen=True)
class WeightName:
    """A parsed file name. `plain` is the same name without its variant."""

    name: str
    plain: str
    belongs_to: WeightSet
    is_index: bool


def parse_weight_name(name: str) -> WeightName | None:
    """Parse the name of a weight file or of an index (no folders); None for any other file."""
    if match := _INDEX.fullmatch(name):
        plain = f"{match['base']}.{match['suffix']}.index.json"
        return WeightName(name, plain, WeightSet(match["variant"], match["suffix"]), is_index=True)
    if match := _FILE.fullmatch(name):
        plain = f"{match['base']}{match['shard'] or ''}.{match['suffix']}"
        variant = match["variant"] or match["late"]
        return WeightName(name, plain, WeightSet(variant, match["suffix"]), is_index=False)
    return None


def choose_set(names: Iterable[str], variant: str | None) -> list[WeightName]:
    """Return the files of the best set: safetensors before pickles, then the wanted variant, then plain names."""
    parsed = [found for name in names if (found := parse_weight_name(name))]
    sets = {found.belongs_to for found in parsed if not found.is_index}
    if not sets:
        return []

    def rank(candidate: WeightSet) -> tuple[bool, int, str]:
        order: list[str | None] = [variant, None] if variant else [None]
        position = order.index(candidate.variant) if candidate.variant in order else len(order)
        return candidate.suffix != "safetensors", position, candidate.variant or ""

    best = min(sets, key=rank)
    return sorted((found for found in parsed if found.belongs_to == best), key=lambda found: found.name)
