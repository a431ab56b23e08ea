"""Leave out LoRAs and styles that the farm cannot use, as A1111 does, and say which."""

from __future__ import annotations

from typing import TypeVar

from api.caller import Caller
from api.farm import Farm
from api.styles import StyleChoice
from core.catalogue import CatalogueModel
from core.catalogue.loras import choose
from core.errors import InvalidInput
from core.parameters.loras import tagged_names, without_tags
from core.schemas.a1111 import Txt2Img

Wanted = TypeVar("Wanted", bound=Txt2Img)


def without_unknown(farm: Farm, caller: Caller, wanted: Wanted, model: CatalogueModel) -> tuple[Wanted, list[str]]:
    """Return the request with what the model can use, and a sentence for each name that was left out.

    Native requests are refused instead: A1111 renders without what it does not find, and its clients rely on it.
    """
    said: list[str] = []
    styles = list(wanted.styles or ())
    if styles:
        known = {style.name for style in StyleChoice(farm, caller).known}
        said += [f"There is no style '{name}' here: it was left out." for name in dict.fromkeys(styles) if name not in known]
        styles = [name for name in styles if name in known]
    prompt, negative = wanted.prompt, wanted.negative_prompt or ""
    if names := tagged_names(prompt, negative):
        files, unusable = farm.loras.files(), []
        for name in filter(None, names):  # one without a name is refused with the prompt
            try:
                choose(files, name, model)
            except InvalidInput as error:
                unusable.append(name)
                said.append(f"{error} It was left out.")
        if unusable:
            prompt, negative = without_tags(prompt, unusable), without_tags(negative, unusable)
    if not said:
        return wanted, []
    return wanted.model_copy(update={"styles": styles, "prompt": prompt, "negative_prompt": negative}), said
