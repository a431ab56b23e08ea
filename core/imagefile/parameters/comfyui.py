"""ComfyUI: the graph of nodes that made the image, walked back from its sampler."""

from __future__ import annotations

from typing import Any

from core.imagefile.parameters.comfyui_graph import Graph, Node
from core.imagefile.parameters.found import FoundParameters, load_object
from core.imagefile.parameters.texts import USER_COMMENT, Texts

_MODEL_KEYS = ("ckpt_name", "unet_name", "gguf_name", "model_name", "model_path", "base_ckpt_name")
_TEXT_KEYS = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "llama", "prompt", "positive_prompt", "string")
_SEED_KEYS = ("seed", "noise_seed")
_MAX_LISTED = 40
_PLUMBING = frozenset(
    {"VAEDecode", "VAEDecodeTiled", "VAELoader", "SaveImage", "PreviewImage", "CLIPLoader", "DualCLIPLoader", "Reroute"}
    | {"CLIPLoaderGGUF", "DualCLIPLoaderGGUF", "TripleCLIPLoader", "CLIPSetLastLayer"}
)


def read(texts: Texts) -> FoundParameters | None:
    """Return the parameters of the graph in `prompt`, or in the EXIF of a WebP or JPEG; None when there is none."""
    nodes = next((nodes for text in _candidates(texts) if (nodes := load_object(text)) is not None), None)
    graph = Graph(nodes) if nodes is not None else None
    if graph is None or not graph.nodes:
        return _editor_only(texts)
    found = FoundParameters("comfyui")
    samplers = graph.samplers()
    if not samplers:
        found.warnings.append("The graph has no sampler that is known here, so nothing of it could be mapped.")
        found.keep({"nodes": sorted({node.kind for node in graph.nodes.values()})[:_MAX_LISTED]})
        return found
    _Walk(graph, found).take(samplers[0])
    if len(samplers) > 1:
        found.warnings.append(f"The graph has {len(samplers)} samplers; the fields are those of the first pass.")
        found.keep({"further_passes": [_scalars(node) for node in samplers[1:_MAX_LISTED]]})
    return found


def _candidates(texts: Texts) -> list[str]:
    found = [texts["prompt"]] if "prompt" in texts else []
    for name in ("exif:Model", "exif:Make", "exif:ImageDescription", USER_COMMENT):
        text = texts.get(name, "")
        kind, separator, rest = text.partition(":")
        if separator and kind.strip().lower() == "prompt":
            found.append(rest)
        elif name == USER_COMMENT and text.startswith("{"):
            found.append(text)
    return found


def _editor_only(texts: Texts) -> FoundParameters | None:
    if load_object(texts.get("workflow")) is None:
        return None
    found = FoundParameters("comfyui")
    found.warnings.append("The image has only the editor's workflow, not the graph that ran: nothing could be mapped.")
    return found


def _scalars(node: Node) -> dict[str, Any]:
    return {"node": node.kind} | {name: value for name, value in node.inputs.items() if not isinstance(value, list | dict)}


class _Walk:
    """Follows a sampler's links, and remembers which nodes it understood."""

    def __init__(self, graph: Graph, found: FoundParameters) -> None:
        self._graph, self._found = graph, found
        self._understood: set[str] = set()

    def take(self, sampler: Node) -> None:
        """Take everything from this sampler and what leads to it."""
        graph, found = self._graph, self._found
        parts = [sampler, *graph.parts_of(sampler)]
        self._understood.update(node.id for node in parts)
        value = {name: graph.first_value(parts, *keys) for name, keys in _SAMPLER_VALUES.items()}
        found.put_seed(value["seed"])
        found.put_steps(value["steps"])
        found.put_guidance(value["cfg"])
        prompts = {role: self._texts(graph.first_link(parts, *links), role) for role, links in _ROLES.items()}
        found.put_text("prompt", prompts["positive"])
        found.put_text("negative_prompt", prompts["negative"])
        self._model(graph.first_link(parts, "model"))
        self._size(graph.first_link(parts, "latent_image", "latent", "samples"), value["denoise"])
        found.keep({name: value[name] for name in ("sampler", "scheduler")})
        self._rest(sampler)

    def _texts(self, link: object, role: str) -> str:
        """Return the texts that a conditioning comes from, joined by commas."""
        pending: list[object] = [link]
        seen: set[str] = set()
        texts: list[str] = []
        while pending and len(seen) < self._graph.MAX_NODES:
            node = self._graph.at(pending.pop(0))
            if node is None or node.id in seen:
                continue
            seen.add(node.id)
            self._understood.add(node.id)
            own = [
                text for key in _TEXT_KEYS if isinstance(text := self._graph.value(node.inputs.get(key), *_TEXT_KEYS), str)
            ]
            texts += [text.strip() for text in own if text.strip() and text.strip() not in texts]
            if own or node.kind.startswith("ConditioningZeroOut"):
                continue
            if (scale := node.inputs.get("guidance")) is not None:
                self._found.keep({"guidance": scale})
            pending += _conditionings(node, role)
        return ", ".join(texts)

    def _model(self, link: object) -> None:
        """Take LoRAs, and the model at the end of the chain."""
        for node in self._graph.chain(link, "model", "MODEL", "base_model", "unet"):
            self._understood.add(node.id)
            if isinstance(node.inputs.get("lora_name"), str):
                scale = self._graph.value(node.inputs.get("strength_model", 1.0), "value", "float")
                self._found.put_lora(node.inputs["lora_name"], scale)
            for each in node.inputs.values():
                if isinstance(each, dict) and each.get("on") and "lora" in each:
                    self._found.put_lora(each["lora"], each.get("strength", 1.0))
            if node.kind.startswith("ModelSampling"):
                self._found.keep({"shift": node.inputs.get("shift")})
            self._found.put_model(*(self._graph.value(node.inputs.get(key), "value", *_MODEL_KEYS) for key in _MODEL_KEYS))

    def _size(self, link: object, denoise: object) -> None:
        """Take the size of the empty latent; another start is an image, and `denoise` then the strength."""
        for node in self._graph.upstream(link):
            if node.kind.startswith("VAEEncode") or node.kind == "LoadImage":
                self._understood.add(node.id)
                self._found.put_strength(denoise)
                return
            sides = [self._graph.value(node.inputs.get(side), "value", "int", side) for side in ("width", "height")]
            if all(isinstance(side, int) for side in sides):
                self._understood.add(node.id)
                self._found.put_size(*sides)
                return

    def _rest(self, sampler: Node) -> None:
        """List the kinds of nodes that had a part in the image and could not be mapped."""
        nodes = self._graph.upstream([sampler.id, 0])
        kinds = {node.kind for node in nodes if node.id not in self._understood | self._graph.holders} - _PLUMBING
        self._found.keep({"nodes": sorted(kinds)[:_MAX_LISTED]})


_SAMPLER_VALUES = {
    "seed": _SEED_KEYS,
    "steps": ("steps",),
    "cfg": ("cfg", "cfg_conds"),
    "sampler": ("sampler_name",),
    "scheduler": ("scheduler",),
    "denoise": ("denoise",),
}
_ROLES = {"positive": ("positive", "conditioning", "cond1"), "negative": ("negative",)}


def _conditionings(node: Node, role: str) -> list[object]:
    """Return the links that lead on to texts of this role."""
    if isinstance(node.inputs.get(role), list):
        return [node.inputs[role]]
    if "Reroute" in node.kind or "Switch" in node.kind:
        return [value for value in node.inputs.values() if isinstance(value, list)]
    return [value for name, value in node.inputs.items() if name.startswith("cond") and isinstance(value, list)]
