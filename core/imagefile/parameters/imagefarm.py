"""Images of imagefarm itself: the JSON record, which has everything."""

from __future__ import annotations

from core.imagefile.metadata import ImageMetadata
from core.imagefile.parameters.found import FoundParameters


def found_in(metadata: ImageMetadata) -> FoundParameters:
    """Return the parameters of a record."""
    found = FoundParameters("imagefarm")
    found.put_text("prompt", metadata.prompt)
    found.put_text("negative_prompt", metadata.negative_prompt)
    found.put_seed(metadata.seed)
    found.put_steps(metadata.num_inference_steps)
    found.put_guidance(metadata.guidance_scale)
    found.put_size(metadata.width, metadata.height)
    found.put_model(metadata.model)
    hashes = metadata.record.lora_hashes if metadata.record else {}
    for lora in metadata.loras:
        found.put_lora(lora.name, lora.scale, hashes.get(lora.name, ""))
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
