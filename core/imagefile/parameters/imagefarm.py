"""Images of imagefarm itself: the JSON record, which has everything."""

from __future__ import annotations

from core.imagefile.metadata import ImageMetadata
from core.imagefile.parameters.found import FoundParameters


def found_in(metadata: ImageMetadata) -> FoundParameters:
    """Return the parameters of a record."""
    found = FoundParameters("imagefarm")
    factor = metadata.upscale or 1
    if metadata.upscale:
        _note_upscale(found, metadata)
    if metadata.upscale and not metadata.prompt:
        return found  # An enlarged upload: nothing was rendered.
    found.put_text("prompt", metadata.prompt)
    found.put_text("negative_prompt", metadata.negative_prompt)
    found.put_seed(metadata.seed)
    found.put_steps(metadata.num_inference_steps)
    found.put_guidance(metadata.guidance_scale)
    found.put_size(metadata.width // factor, metadata.height // factor)
    found.put_model(metadata.model)
    hashes = metadata.record.lora_hashes if metadata.record else {}
    for lora in metadata.loras:
        found.put_lora(lora.name, lora.scale, hashes.get(lora.name, ""))
    if metadata.variation_strength:
        found.fields |= {"variation_seed": metadata.variation_seed, "variation_strength": metadata.variation_strength}
    if metadata.coherent is not None:
        found.unmapped["coherent"] = metadata.coherent.model_dump(exclude_none=True)
        found.warnings.append(
            "The noise of this image follows that of a smaller one, which no field of a job asks for: these fields give "
            "another image. To repeat it, use `imagefarm rerun`, or refine the smaller one in the mode coherent."
        )
    if metadata.strength is not None and metadata.strength >= 1:
        found.unmapped["strength"] = metadata.strength
        found.warnings.append(
            "This image was rendered over another one, whole or through a mask, and neither is in the file: to repeat it, "
            "use `imagefarm rerun`, or upload them and send init_image, mask and strength 1."
        )
    found.put_strength(metadata.strength)
    if metadata.start_sigma is not None:
        found.unmapped["start_sigma"] = metadata.start_sigma
        found.warnings.append(
            "This image started from another one, which is not in the file: to repeat it, upload that image and send "
            f"its id as init_image, with start_sigma {metadata.start_sigma:g}."
        )
    found.keep({"scheduler": metadata.scheduler, "weights_revision": metadata.weights_revision})
    if metadata.job_id is not None:
        found.keep({"job_id": metadata.job_id})
    return found


def _note_upscale(found: FoundParameters, metadata: ImageMetadata) -> None:
    """Say that the fields render what was enlarged."""
    found.keep({"upscaler": metadata.upscaler, "upscale": metadata.upscale})
    what = "The fields render the image that it was made from" if metadata.prompt else "It was made from an upload"
    found.warnings.append(
        f"This image was enlarged {metadata.upscale} times with {metadata.upscaler}. {what}: enlarge that again with "
        "`imagefarm upscale`."
    )
