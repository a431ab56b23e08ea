"""Find which program made an image, and read its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.imagefile.parameters import a1111, civitai, comfyui, fooocus, imagefarm, invokeai, novelai
from core.imagefile.parameters.found import FoundParameters
from core.imagefile.parameters.texts import Texts, texts_of
from core.imagefile.reading import MAX_PIXELS, load_pixels, metadata_of, open_image

_READERS: Sequence[Callable[[Texts], FoundParameters | None]] = (
    fooocus.read,
    civitai.read,
    a1111.read,
    comfyui.read,
    invokeai.read,
    novelai.read,
)
"""In order: programs that use A1111's keyword for their own text come before it."""


def read_parameters(data: bytes, *, max_pixels: int = MAX_PIXELS) -> FoundParameters | None:
    """Return how the image was made; None when it does not say. Raises InvalidInput like `open_image`."""
    image = open_image(data, max_pixels=max_pixels)
    load_pixels(image)
    record = metadata_of(image).imagefarm
    if record is not None:
        return imagefarm.found_in(record)
    texts = texts_of(image)
    found = next((found for read in _READERS if (found := read(texts)) is not None), None)
    if found is None:
        return None
    if "width" not in found.fields and found.source != "imagefarm":
        found.put_size(image.width, image.height)
        found.warnings.append("The image does not say its size; width and height are those of the file.")
    found.note_foreign()
    return found
