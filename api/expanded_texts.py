"""Apply a request's styles to its prompts, before the request is checked and completed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from api.caller import Caller
from api.farm import Farm
from api.styles import StyleChoice
from core.parameters import Normalised
from core.parameters.parameters import ExpandedFrom
from core.schemas.jobs import JobRequest
from core.styles import apply_styles

_NO_EFFECT = "negative_prompt has no effect"


@dataclass(frozen=True)
class ExpandedTexts:
    """A request with its texts expanded, and what they were before; None when nothing was to expand."""

    request: JobRequest
    expanded_from: ExpandedFrom | None = None

    def added_to(self, normalised: Normalised) -> Normalised:
        """Return the parameters with the texts that the caller sent, and warnings that name the styles."""
        source = self.expanded_from
        if source is None:
            return normalised
        parameters = normalised.parameters.model_copy(update={"expanded_from": source})
        return replace(normalised, parameters=parameters, warnings=[self._named(each) for each in normalised.warnings])

    def _named(self, warning: str) -> str:
        """Say where a negative prompt without effect comes from, if the caller did not send it."""
        source = self.expanded_from
        if source is None or source.negative_prompt.strip() or not warning.startswith(_NO_EFFECT):
            return warning
        return f"The negative prompt of the styles ({', '.join(source.styles)}) has no effect{warning[len(_NO_EFFECT) :]}"


def expand_texts(farm: Farm, caller: Caller, request: JobRequest, styles: StyleChoice | None = None) -> ExpandedTexts:
    """Return the request with its styles applied. Reads the database. Raises InvalidInput.

    `styles`: those that another job of the same call has read.
    """
    if not request.styles:
        return ExpandedTexts(request)
    chosen = (styles or StyleChoice(farm, caller)).named(request.styles)
    negative = request.negative_prompt or ""
    prompt, negative_prompt = apply_styles(request.prompt, negative, chosen, farm.settings.max_prompt_chars)
    expanded = request.model_copy(update={"prompt": prompt, "negative_prompt": negative_prompt})
    source = ExpandedFrom(prompt=request.prompt, negative_prompt=negative, styles=tuple(request.styles))
    return ExpandedTexts(expanded, source)
