"""Apply a request's styles to its prompts and expand dynamic ones, before the request is checked and completed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from api.caller import Caller
from api.farm import Farm
from api.styles import StyleChoice
from core.errors import InvalidInput
from core.parameters import Normalised
from core.parameters.loras import take_loras, without_tags
from core.parameters.parameters import ExpandedFrom, Findings
from core.parameters.seeds import resolve_seed
from core.schemas.jobs import JobRequest
from core.styles import apply_styles

if TYPE_CHECKING:
    from api.dynamic_prompts import DynamicPrompts

_NO_EFFECT = "negative_prompt has no effect"


@dataclass(frozen=True)
class ExpandedTexts:
    """A request with its texts expanded, and what they were before; None when nothing was to expand.

    `prompts` and `negative_prompts` are those of each image, with LoRAs taken out; empty when all images have the same.
    """

    request: JobRequest
    expanded_from: ExpandedFrom | None = None
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()

    def added_to(self, normalised: Normalised) -> Normalised:
        """Return the parameters with the texts that the caller sent, and warnings that name the styles."""
        added = {name: getattr(self, name) for name in ("expanded_from", "prompts", "negative_prompts")}
        parameters = normalised.parameters.model_copy(update=added)
        return replace(normalised, parameters=parameters, warnings=[self._named(each) for each in normalised.warnings])

    def _named(self, warning: str) -> str:
        """Say where a negative prompt without effect comes from, if the caller did not send it."""
        source = self.expanded_from
        if source is None or source.negative_prompt.strip() or not warning.startswith(_NO_EFFECT):
            return warning
        return f"The negative prompt of the styles ({', '.join(source.styles)}) has no effect{warning[len(_NO_EFFECT) :]}"


class TextExpander:
    """Expands the requests of one call, with the styles and wildcards read once. Reads the database and files."""

    def __init__(self, farm: Farm, caller: Caller) -> None:
        self._farm, self._styles = farm, StyleChoice(farm, caller)

    def expand(self, request: JobRequest) -> ExpandedTexts:
        """Return the request with its styles applied and its dynamic prompts expanded. Raises InvalidInput."""
        if not request.styles and not request.dynamic:
            return ExpandedTexts(request)
        limit, negative = self._farm.settings.max_prompt_chars, request.negative_prompt or ""
        source = ExpandedFrom(
            prompt=request.prompt, negative_prompt=negative, styles=tuple(request.styles), dynamic=request.dynamic
        )
        styles = self._styles.named(request.styles) if request.styles else ()
        prompt, negative = apply_styles(request.prompt, negative, styles, limit)
        styled = request.model_copy(update={"prompt": prompt, "negative_prompt": negative})
        return self._expanded(styled, source) if request.dynamic else ExpandedTexts(styled, source)

    @cached_property
    def _dynamic(self) -> DynamicPrompts:
        from api.dynamic_prompts import DynamicPrompts  # whose parser takes 5 MiB: most farms never use it

        return DynamicPrompts(self._farm.wildcards.all(), self._farm.settings.max_prompt_chars)

    def _expanded(self, request: JobRequest, source: ExpandedFrom) -> ExpandedTexts:
        """Choose for each image by its own seed, which is drawn here if the request has none."""
        findings = Findings()
        seed = resolve_seed(request.seed, request.num_images, findings)
        findings.raise_if_any()
        texts = (request.prompt, request.negative_prompt or "")
        self._dynamic.check(*texts)
        count = min(max(request.num_images, 1), self._farm.limits.max_images)  # a wrong number is refused later
        found = [self._dynamic.expand(seed + index, *texts) for index in range(count)]
        changes = {"prompt": found[0][0], "negative_prompt": found[0][1], "seed": seed}
        requests = [request.model_copy(update={**changes, "prompt": each[0], "negative_prompt": each[1]}) for each in found]
        if len(set(map(tuple, found))) == 1:
            return ExpandedTexts(requests[0], source)
        self._check_loras(requests)
        prompts, negatives = (tuple(without_tags(text) for text in column) for column in zip(*found, strict=True))
        return ExpandedTexts(requests[0], source, prompts, negatives if len(set(negatives)) > 1 else ())

    def _check_loras(self, requests: list[JobRequest]) -> None:
        """Raise InvalidInput when the images would have different LoRAs, or one of them no prompt."""
        limit = self._farm.settings.max_prompt_chars
        taken = [take_loras(each, limit, Findings()) for each in requests]
        if any(each.loras != taken[0].loras for each in taken):
            raise InvalidInput(
                "The images of one job have the same LoRAs: do not choose between LoRAs in a dynamic prompt, or submit a "
                "batch with one image per job.",
                field="prompt",
                code="dynamic_loras",
            )
        if not all(each.prompt.strip() for each in taken):
            raise InvalidInput(
                "The dynamic prompt is empty for some images: describe the image outside of the variants.",
                field="prompt",
                code="invalid_template",
            )
