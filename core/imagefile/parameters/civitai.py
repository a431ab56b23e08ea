"""Images of Civitai's own generator that carry a graph: the settings are in `extraMetadata`."""

from __future__ import annotations

from core.imagefile.parameters.found import FoundParameters, load_object
from core.imagefile.parameters.texts import USER_COMMENT, Texts

_MAPPED = frozenset({"prompt", "negativePrompt", "steps", "cfgScale", "seed", "width", "height", "baseModel"})


def read(texts: Texts) -> FoundParameters | None:
    """Return the parameters of Civitai's JSON in EXIF; None when there is none. Its text form is read by `a1111`."""
    graph = load_object(texts.get(USER_COMMENT))
    given = load_object(graph.get("extraMetadata")) if graph else None
    if graph is None or given is None:
        return None
    found = FoundParameters("civitai")
    found.put_text("prompt", given.get("prompt"))
    found.put_text("negative_prompt", given.get("negativePrompt"))
    found.put_steps(given.get("steps"))
    found.put_guidance(given.get("cfgScale"))
    found.put_seed(given.get("seed"))
    found.put_size(given.get("width"), given.get("height"))
    found.put_model(given.get("baseModel"))
    found.keep({name: value for name, value in given.items() if name not in _MAPPED})
    extra = graph.get("extra")
    found.keep({"airs": extra.get("airs") if isinstance(extra, dict) else None})
    return found
