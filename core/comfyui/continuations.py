"""Join a sampler that continues another one's noise, such as the refiner of SDXL's template, with that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KIND = "KSamplerAdvanced"
_NAMED = ("model", "positive", "negative", "cfg", "sampler_name", "scheduler")
_MAX_JOINED, _MAX_CHAIN = 16, 50


def with_joined_samplers(prompt: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """Return a graph without the samplers that only continue others, and a sentence for each; `prompt` is unchecked.

    The first sampler renders all steps. A continued one is kept where something else reads its unfinished latents.
    """
    said: list[str] = []
    for _ in range(_MAX_JOINED):
        found = next(((name, first) for name in prompt if (first := _continued(prompt, name)) is not None), None)
        if found is None:
            break
        said.append(_sentence(prompt, *found))
        prompt = _joined(prompt, *found)
    return prompt, said


def _continued(prompt: Mapping[str, Any], name: str) -> str | None:
    """Return the sampler that this one continues."""
    inputs = _inputs(prompt, name)
    link = _link(inputs.get("latent_image"))
    if link is None or link == name or inputs.get("add_noise") != "disable":
        return None
    first = _inputs(prompt, link)
    follows = (
        first.get("return_with_leftover_noise") == "enable"
        and first.get("add_noise") == "enable"
        and first.get("end_at_step") == inputs.get("start_at_step")
        and first.get("steps") == inputs.get("steps")
    )
    return link if follows and _readers(prompt, link) == {name} else None


def _inputs(prompt: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the inputs of a sampler; none for any other node."""
    node = prompt.get(name)
    inputs = node.get("inputs") if isinstance(node, dict) and node.get("class_type") == _KIND else None
    return inputs if isinstance(inputs, dict) else {}


def _link(value: object) -> str | None:
    return value[0] if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) else None


def _readers(prompt: Mapping[str, Any], name: str) -> set[str]:
    return {
        each
        for each, node in prompt.items()
        if isinstance(node, dict)
        and isinstance(inputs := node.get("inputs"), dict)
        and any(_link(value) == name for value in inputs.values())
    }


def _joined(prompt: Mapping[str, Any], name: str, first: str) -> dict[str, Any]:
    """Return the graph with `first` in the place of `name`, whose own nodes nothing needs any more.

    What decodes the images does so with the first one's checkpoint, if it did with that of `name`.
    """
    last = _inputs(prompt, name)
    end = {key: last[key] for key in ("end_at_step", "return_with_leftover_noise") if key in last}
    loaders = _checkpoint(prompt, name)[0], _checkpoint(prompt, first)[0]
    found: dict[str, Any] = {}
    for each, node in prompt.items():
        if each == name:
            continue
        if isinstance(node, dict) and isinstance(inputs := node.get("inputs"), dict):
            changed = {key: [first, value[1]] if _link(value) == name else value for key, value in inputs.items()}
            if all(loaders) and _link(inputs.get("samples")) == name and _link(inputs.get("vae")) == loaders[0]:
                changed["vae"] = [loaders[1], inputs["vae"][1]]
            found[each] = {**node, "inputs": changed | end if each == first else changed}
        else:
            found[each] = node
    return found


def _sentence(prompt: Mapping[str, Any], name: str, first: str) -> str:
    last, before = _inputs(prompt, name), _inputs(prompt, first)
    others = [key for key in _NAMED if last.get(key) != before.get(key)]
    own = f", and its own {', '.join(others)} {'have' if len(others) > 1 else 'has'} no effect" if others else ""
    file = _checkpoint(prompt, name)[1]
    model = f" ({file})" if "model" in others and file else ""
    return f"{_KIND} {name}{model} is joined with {_KIND} {first}: one model renders all {before.get('steps')} steps{own}."


def _checkpoint(prompt: Mapping[str, Any], sampler: str) -> tuple[str, str]:
    """Return the node that loads a sampler's checkpoint, and its file; empty texts for any other loader."""
    each = sampler
    for _ in range(_MAX_CHAIN):
        node = prompt.get(each)
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if not isinstance(node, dict) or not isinstance(inputs, dict):
            break
        if node.get("class_type") == "CheckpointLoaderSimple":
            file = inputs.get("ckpt_name")
            return each, file[:200] if isinstance(file, str) else ""
        if (following := _link(inputs.get("model"))) is None:
            break
        each = following
    return "", ""
