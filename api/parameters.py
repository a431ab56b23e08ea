"""Read an image's parameters, and match the names in them to this farm's models and LoRAs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from api.farm import Farm
from api.threads import in_thread
from core.catalogue import Catalogue, CatalogueModel
from core.catalogue.loras import LoraFile, usable
from core.errors import InvalidInput
from core.imagefile.parameters import FoundLora, FoundParameters, read_parameters
from core.imagefile.parameters.found import stem_of
from core.schemas.images import ImageParameters
from core.schemas.loras import MAX_LORAS, MAX_SCALE

_PRECISION = re.compile(
    r"[-_. ](?:bf16|fp16|fp32|f16|f32|fp8(?:[-_]?e\dm\d\w*)?|e\dm\d\w*|scaled|i?q\d\w*|int8|pruned|emaonly|ema|noema)"
    r"(?=[-_. ]|$)",
    re.IGNORECASE,
)
_WELL_KNOWN = {
    "v15": "sd15",
    "sdv15": "sd15",
    "stablediffusionv15": "sd15",
    "stablediffusion15": "sd15",
    "v21768": "sd21",
    "sdv21": "sd21",
    "sdxlbase10": "sdxl",
    "sdxlbase10vae": "sdxl",
    "sdxlbase1009vae": "sdxl",
    "sdxl10": "sdxl",
    "stablediffusionxlbase10": "sdxl",
    "stablediffusion21": "sd21",
    "sdxlturbo10": "sdxl-turbo",
}
"""Usual file names of shipped models, in the form of `_compact`."""


async def parameters_of(farm: Farm, data: bytes) -> ImageParameters:
    """Return what an image says. Raises InvalidInput for what is not an image, or too large."""
    async with farm.decoding:
        try:
            return await in_thread(_read, farm, data)
        except InvalidInput as error:
            raise InvalidInput(error.message, field="body", code=error.code) from error


def _read(farm: Farm, data: bytes) -> ImageParameters:
    found = read_parameters(data, max_pixels=farm.settings.max_upload_pixels)
    if found is None:
        return ImageParameters(warnings=["The image does not say how it was made, or not in a form that is known here."])
    model = _map_model(found, farm.catalogue)
    if found.loras:
        _map_loras(found, model, farm.loras.files())
    return ImageParameters(source=found.source, fields=found.fields, unmapped=found.unmapped, warnings=found.warnings)


def _map_model(found: FoundParameters, catalogue: Catalogue) -> CatalogueModel | None:
    """Set the field `model`, or say which model the image names."""
    if not found.model_names:
        return None
    model = next((model for name in found.model_names if (model := find_model(name, catalogue)) is not None), None)
    if model is not None:
        found.fields["model"] = model.id
        return model
    found.unmapped["model"] = found.model_names[0]
    found.warnings.append(
        f"This farm knows no model called '{found.model_names[0]}': add it with `imagefarm models add`, or choose another."
    )
    return None


def find_model(name: str, catalogue: Catalogue) -> CatalogueModel | None:
    """Return the model that an image's name means: an id, alias, title, repository, or the name of a weight file."""
    wanted = {_compact(name), _compact(stem_of(name)), _compact(_PRECISION.sub("", stem_of(name)))} - {""}
    wanted |= {_WELL_KNOWN[each] for each in wanted & _WELL_KNOWN.keys()}
    return next((model for model in catalogue if not wanted.isdisjoint(_names_of(model))), None)


def _names_of(model: CatalogueModel) -> set[str]:
    files = [*model.files.values(), *([model.folder] if model.folder else [])]
    stems = {stem_of(path.name) for path in files}
    names = {model.id, *model.aliases, model.title, *stems, *(_PRECISION.sub("", stem) for stem in stems)}
    return {_compact(each) for each in names} | {model.id}


def _compact(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _map_loras(found: FoundParameters, model: CatalogueModel | None, files: Sequence[LoraFile]) -> None:
    """Set the field `loras` to those that this farm has; the others are named."""
    known = usable(files, model) if model is not None else {file.name: file for file in reversed(files)}
    mapped: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    for lora in found.loras:
        file = _find_lora(lora, known)
        fits = file is not None and abs(lora.scale) <= MAX_SCALE and len(mapped) < MAX_LORAS
        if file is not None and fits:
            mapped.append({"name": file.name, "scale": lora.scale})
        else:
            missing.append({"name": lora.name, "scale": lora.scale} | ({"hash": lora.hash} if lora.hash else {}))
    if mapped:
        found.fields["loras"] = mapped
    if missing:
        found.unmapped["loras"] = missing
        names = ", ".join(each["name"] for each in missing)
        found.warnings.append(f"These LoRAs are not here, or not for this model: {names}.")


def _find_lora(lora: FoundLora, known: dict[str, LoraFile]) -> LoraFile | None:
    """Return the file of that name, else the one whose trainer stored that hash."""
    if lora.name in known:
        return known[lora.name]
    digest = lora.hash.lower()
    stored = {file.facts.stored_hash.lower()[: len(digest)]: file for file in known.values() if file.facts.stored_hash}
    return stored.get(digest) if len(digest) >= _SHORTEST_HASH else None


_SHORTEST_HASH = 8
