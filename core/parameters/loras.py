"""Take `<lora:NAME:SCALE>` out of prompts, merge it with the field `loras`, and check what is named."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from core.catalogue import CatalogueModel
from core.catalogue.loras import LoraFile, choose
from core.errors import InvalidInput
from core.parameters.parameters import Findings
from core.render import LoraRequest
from core.schemas.jobs import RenderFields
from core.schemas.loras import MAX_LORAS, MAX_NAME, MAX_SCALE

_TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)
_SEPARATORS = " \t,"
_FORM = "write <lora:NAME> or <lora:NAME:SCALE>, such as <lora:ink:0.8>"


@dataclass
class TakenLoras:
    """The prompts without tags, and the LoRAs of tags and field, sorted by name."""

    prompt: str
    negative_prompt: str
    loras: tuple[LoraRequest, ...] = ()
    warnings: list[str] = field(default_factory=list)


def take_loras(request: RenderFields, max_prompt_chars: int, findings: Findings) -> TakenLoras:
    """Take the LoRAs out of a request. The field wins over a tag of the same name.

    They are sorted, so that equal sets give equal bits and may share a forward pass. Longer prompts are refused as such.
    """
    texts = {
        where: text if len(text) <= max_prompt_chars else ""
        for where, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt or ""))
    }
    taken = TakenLoras(without_tags(texts["prompt"]), without_tags(texts["negative_prompt"]))
    found: dict[str, float] = {}
    for lora in request.loras:
        if lora.name in found:
            findings.add("loras", f"names '{lora.name}' twice: send it once.")
        found[lora.name] = lora.scale
    for name, scale in _tags(texts, findings, taken.warnings).items():
        if found.setdefault(name, scale) != scale:
            taken.warnings.append(
                f"The LoRA '{name}' has scale {found[name]:g} from `loras`, not {scale:g} from the prompt."
            )
    if len(found) > MAX_LORAS:
        findings.add("loras", f"are {len(found)}: send at most {MAX_LORAS}.")
    taken.loras = tuple(LoraRequest(name=name, scale=scale) for name, scale in sorted(found.items()))
    return taken


def _tags(texts: Mapping[str, str], findings: Findings, warnings: list[str]) -> dict[str, float]:
    """Return name -> scale of the tags in both prompts."""
    found: dict[str, float] = {}
    for where, text in texts.items():
        for match in _TAG.finditer(text):
            if (parsed := _parsed(match, where, findings, warnings)) is None:
                continue
            name, scale = parsed
            if found.setdefault(name, scale) != scale:
                findings.add(where, f"names the LoRA '{name}' with several scales: write it once.")
            if where == "negative_prompt":
                warnings.append(f"The LoRA '{name}' of the negative prompt is applied to the whole image.")
    return found


def tagged_names(*texts: str) -> list[str]:
    """Return the names in the tags of prompts, each once, in their order."""
    return list(dict.fromkeys(_name_in(tag) for text in texts for tag in _TAG.findall(text)))


def without_tags(text: str, names: Collection[str] | None = None) -> str:
    """Return a prompt without tags, or those of `names`, and with one comma or blank where they were between others."""
    first, *others = _between_tags(text, names)
    kept = first
    for part in others:
        before, after = kept.rstrip(_SEPARATORS), part.lstrip(_SEPARATORS)
        around = kept[len(before) :] + part[: len(part) - len(after)]
        kept = before + (", " if "," in around else " " if around else "") + after if before and after else before + after
        if not after:
            kept += around  # Until the next tag, or the end of the text, decides.
    return kept if not others else kept.rstrip(_SEPARATORS) if not others[-1].strip(_SEPARATORS) else kept


def _name_in(tag: str) -> str:
    return tag.split(":", maxsplit=1)[0].strip()


def _between_tags(text: str, names: Collection[str] | None) -> list[str]:
    first, *rest = _TAG.split(text)
    parts = [first]
    for tag, part in zip(rest[::2], rest[1::2], strict=True):
        if names is None or _name_in(tag) in names:
            parts.append(part)
        else:
            parts[-1] += f"<lora:{tag}>{part}"
    return parts


def _parsed(match: re.Match[str], where: str, findings: Findings, warnings: list[str]) -> tuple[str, float] | None:
    """Return a tag's name and scale; add a finding and return None when it has none."""
    name, *scales = (part.strip() for part in match[1].split(":"))
    shown = match[0] if len(match[0]) <= MAX_NAME else f"{match[0][:MAX_NAME]}..."
    if not 0 < len(name) <= MAX_NAME:
        findings.add(where, f"{shown} names no LoRA: {_FORM}.")
        return None
    try:
        scale = float(scales[0]) if scales else 1.0
    except ValueError:
        findings.add(where, f"the scale of {shown} is not a number: {_FORM}.")
        return None
    if not -MAX_SCALE <= scale <= MAX_SCALE:
        findings.add(where, f"the scale of {shown} is out of range: use {-MAX_SCALE:g} to {MAX_SCALE:g}.")
        return None
    if any(part != scales[0] for part in scales[1:]):
        warnings.append(f"{shown} has several values: the first, {scale:g}, is the scale of the whole LoRA.")
    return name, scale


def check_loras(loras: Sequence[LoraRequest], model: CatalogueModel, files: Sequence[LoraFile] | None) -> None:
    """Raise InvalidInput if the model takes no LoRAs, or cannot take one of these, or one is not among `files`."""
    if not model.takes_loras:
        raise InvalidInput(
            f"{model.id} takes no LoRAs: leave them out, or choose another model.", field="loras", code="loras_not_offered"
        )
    for lora in loras:
        if files is not None:
            choose(files, lora.name, model)


def parse_lora(text: str) -> dict[str, object]:
    """Return the fields of `NAME` or `NAME:SCALE`; a last part that is no number belongs to the name."""
    name, separator, scale = text.strip().rpartition(":")
    try:
        return {"name": name.strip(), "scale": float(scale)} if separator else {"name": text.strip()}
    except ValueError:
        return {"name": text.strip()}
