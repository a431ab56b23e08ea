"""A graph of ComfyUI as its API takes it: nodes by id, each with a class and inputs, which are values or links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

_VALUE_KEYS = ("value", "text", "string", "int", "float", "number", "seed", "prompt", "Text", "Value")
_LATENT_KEYS = ("latent_image", "latent", "samples")
_PART_LINKS = ("guider", "sigmas", "noise", "sampler", "basic_pipe")
_MAX_HOPS, _MAX_LINKS, _MAX_SAMPLERS = 200, 100, 20


@dataclass(frozen=True)
class Node:
    """One node. A link among `inputs` is a list of a node's id and the number of its output."""

    id: str
    kind: str
    inputs: Mapping[str, Any]


class Graph:
    """The nodes of a graph; what is not a node is ignored. All walks visit each node once."""

    MAX_NODES: ClassVar[int] = 5000

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes: dict[str, Node] = {}
        self.holders: set[str] = set()
        """Ids of the nodes that a value was taken from."""
        for name, node in list(nodes.items())[: self.MAX_NODES]:
            if isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict):
                self.nodes[name] = Node(name, node["class_type"][:100], node["inputs"])

    def at(self, link: object) -> Node | None:
        """Return the node that a link leads to; None for anything but a link."""
        if not isinstance(link, list) or len(link) != 2 or not isinstance(link[0], str | int):
            return None
        return self.nodes.get(str(link[0])[:100]) if not isinstance(link[0], int) or abs(link[0]) < 2**63 else None

    def value(self, given: object, *keys: str) -> Any:  # noqa: ANN401 -- any scalar
        """Return a text or number, through links to nodes that only hold one; None when there is none."""
        seen: set[str] = set()
        while isinstance(given, list):
            node = self.at(given)
            if node is None or node.id in seen:
                return None
            seen.add(node.id)
            self.holders.add(node.id)
            if isinstance(node.inputs.get("string_a"), str | list):
                return self._joined(node, len(seen))
            given = next((node.inputs[key] for key in (*keys, *_VALUE_KEYS) if key in node.inputs), None)
        return given if isinstance(given, str | int | float) and not isinstance(given, bool) else None

    def _joined(self, node: Node, depth: int) -> str:
        """Join the texts of a node that concatenates two; links to further such nodes are not followed."""
        if depth > 1:
            return ""
        parts = [node.inputs.get(name) for name in ("string_a", "string_b")]
        texts = [text for part in parts if isinstance(text := part if isinstance(part, str) else self._held(part), str)]
        delimiter = node.inputs.get("delimiter", "")
        return (delimiter if isinstance(delimiter, str) else "").join(texts)

    def _held(self, link: object) -> object:
        node = self.at(link)
        return None if node is None else next((node.inputs[key] for key in _VALUE_KEYS if key in node.inputs), None)

    def first_value(self, nodes: Sequence[Node], *keys: str) -> Any:  # noqa: ANN401 -- any scalar
        """Return the first of these inputs that has a value."""
        found = (self.value(node.inputs[key], *keys) for node in nodes for key in keys if key in node.inputs)
        return next((value for value in found if value is not None), None)

    def first_link(self, nodes: Sequence[Node], *names: str) -> object:
        """Return the first of these inputs that is a link."""
        return next((node.inputs[name] for node in nodes for name in names if self.at(node.inputs.get(name))), None)

    def parts_of(self, sampler: Node) -> list[Node]:
        """Return the nodes that hold a part of a sampler's settings: guider, schedule, noise."""
        links = (sampler.inputs.get(name) for name in _PART_LINKS)
        return [node for link in links if (node := self.at(link)) is not None]

    def chain(self, link: object, *names: str) -> Iterator[Node]:
        """Yield the nodes from a link on, each by the first of these inputs of the one before."""
        seen: set[str] = set()
        while (node := self.at(link)) is not None and node.id not in seen and len(seen) < _MAX_HOPS:
            seen.add(node.id)
            yield node
            link = next((node.inputs[name] for name in names if isinstance(node.inputs.get(name), list)), None)

    def upstream(self, link: object) -> list[Node]:
        """Return every node that a link depends on, the nearest first."""
        found: dict[str, Node] = {}
        pending: list[object] = [link]
        while pending:
            following: list[object] = []
            for each in pending:
                node = self.at(each)
                if node is not None and node.id not in found:
                    found[node.id] = node
                    following += [value for value in node.inputs.values() if isinstance(value, list)][:_MAX_LINKS]
            pending = following
        return list(found.values())

    def samplers(self) -> list[Node]:
        """Return the samplers that the saved image comes from, the first pass first; without one, all samplers."""
        ends = [node for node in self.nodes.values() if "saveimage" in node.kind.lower().replace(" ", "")]
        ends = ends or [node for node in self.nodes.values() if node.kind == "PreviewImage"]
        used = [node for end in ends[:1] for node in self.upstream([end.id, 0]) if _is_sampler(node)]
        found = (used or [node for node in self.nodes.values() if _is_sampler(node)])[:_MAX_SAMPLERS]
        passes = {node.id: sum(map(_is_sampler, self.upstream(self._latent_of(node)))) for node in found}
        return sorted(found, key=lambda node: passes[node.id])

    def _latent_of(self, node: Node) -> object:
        return next((node.inputs[name] for name in _LATENT_KEYS if name in node.inputs), None)


def _is_sampler(node: Node) -> bool:
    inputs = node.inputs
    return (
        any(name in inputs for name in _LATENT_KEYS)
        and ("positive" in inputs or "guider" in inputs)
        and ("steps" in inputs or "sigmas" in inputs)
    )
