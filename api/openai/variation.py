"""Fields of a job that varies an image: the prompt and seed in its file, and a variation seed."""

from __future__ import annotations

from typing import Any

from api.farm import Farm
from api.openai.request import ImageVariationRequest, is_openai_model
from api.threads import in_thread
from core.catalogue import CatalogueModel
from core.errors import InvalidInput
from core.imagefile import FileMetadata, read_metadata

STRENGTH = 0.5
"""Share of the variation seed's noise."""


async def variation_fields(
    farm: Farm, wanted: ImageVariationRequest, data: bytes, default: CatalogueModel
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of the job, and a sentence on where its prompt comes from. Raises InvalidInput.

    `default`: the model of a request that names none.
    """
    model = default if wanted.model is None or is_openai_model(wanted.model) else farm.catalogue.get(wanted.model)
    if model.img2img == "edit":
        raise InvalidInput(
            f"{model.id} edits an image as a prompt says: send it to POST /v1/images/edits with a prompt.",
            field="model",
            code="variations_not_offered",
        )
    async with farm.decoding:
        found = await in_thread(_metadata, data)
    prompt = str((wanted.model_extra or {}).get("prompt") or "") or _prompt_of(found)
    seed = found.settings().get("seed", -1)
    fields: dict[str, Any] = {"prompt": prompt}
    if model.takes_noise:
        fields |= {"variation_seed": -1, "variation_strength": STRENGTH}
        fields |= {"seed": seed} if 0 <= seed < 2**32 else {}
    sent = wanted.model_extra or {}
    kept = {name: value for name, value in fields.items() if name == "prompt" or sent.get(name) is None}
    said = "The prompt is the one in the image's file." if prompt else "The image's file holds no prompt: none was used."
    return kept, [said]


def _metadata(data: bytes) -> FileMetadata:
    try:
        return read_metadata(data)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="image", code=error.code) from error


def _prompt_of(found: FileMetadata) -> str:
    if found.imagefarm is not None:
        return found.imagefarm.prompt
    return found.parameters.prompt if found.parameters is not None else ""
