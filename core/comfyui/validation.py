"""Check a graph as ComfyUI checks it: classes, links and values, from each output node backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.comfyui.errors import GraphRefused, NodeError, node_errors
from core.comfyui.node_kinds import NODES, Input, NodeKind, choices_of

MAX_NODES = 250
MAX_INPUTS = 250
"""Of one node: each may be a link that is followed."""
_LISTED = 20
"""The longest list of values that an error repeats, as in ComfyUI."""


@dataclass(frozen=True)
class Node:
    """One node. A link among `inputs` is the pair of a node's id and the number of its output."""

    id: str
    kind: str
    inputs: Mapping[str, Any]

    def link(self, name: str) -> tuple[str, int]:
        """Return the node and output that an input is linked to."""
        node, output = self.inputs[name]
        return str(node), int(output)


@dataclass(frozen=True)
class Graph:
    """A checked graph. `outputs` are the output nodes that can be run, `reachable` the nodes that these depend on.

    The others are in `node_errors`.
    """

    nodes: Mapping[str, Node]
    outputs: tuple[str, ...]
    reachable: frozenset[str]
    node_errors: Mapping[str, Any] = field(default_factory=dict)


def checked_graph(given: object, files: Mapping[str, Sequence[str]]) -> Graph:
    """Return the graph of a request. Raises GraphRefused when none of its output nodes can be run.

    `files`: the values of each list that inputs choose from, by the names in `core.comfyui.node_kinds.FileList`.
    """
    nodes = _nodes(given)
    check = _Check(nodes, files)
    outputs = [node.id for node in nodes.values() if NODES[node.kind].is_output]
    if not outputs:
        raise GraphRefused(NodeError("prompt_no_outputs", "Prompt has no outputs", "Add a SaveImage or PreviewImage node."))
    good = tuple(each for each in outputs if check.is_sound(each))
    kinds = {node.id: node.kind for node in nodes.values()}
    dependent = {node: [each for each in outputs if node in check.behind(each)] for node in check.errors}
    errors = node_errors(check.errors, kinds, dependent)
    if not good:
        raise GraphRefused(outputs_failed(errors), errors)
    return Graph(nodes, good, frozenset().union(*map(check.behind, good)), errors)


def outputs_failed(errors: Mapping[str, Mapping[str, Any]]) -> NodeError:
    """Return ComfyUI's error of a graph none of whose outputs can be run; its details name every node."""
    lines = [
        f"{node} ({found['class_type']}): {error['message']}{': ' + error['details'] if error['details'] else ''}"
        for node, found in errors.items()
        for error in found["errors"]
    ]
    return NodeError("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(lines))


def _nodes(given: object) -> dict[str, Node]:
    if not isinstance(given, dict) or not given:
        raise GraphRefused(
            NodeError("no_prompt", "No prompt provided", "Send the graph as `prompt`, in ComfyUI's API format.")
        )
    if len(given) > MAX_NODES:
        raise GraphRefused(NodeError("invalid_prompt", "The graph is too large", f"Send at most {MAX_NODES} nodes."))
    nodes: dict[str, Node] = {}
    unknown: dict[str, list[NodeError]] = {}
    kinds: dict[str, str] = {}
    for name, node in given.items():
        kind = node.get("class_type") if isinstance(node, dict) else None
        inputs = node.get("inputs", {}) if isinstance(node, dict) else None
        if not isinstance(kind, str) or not isinstance(inputs, dict):
            raise GraphRefused(
                NodeError(
                    "invalid_prompt",
                    "Cannot execute because a node is missing the class_type property.",
                    f"Node ID '#{name}'",
                )
            )
        if len(inputs) > MAX_INPUTS:
            raise GraphRefused(
                NodeError("invalid_prompt", "A node has too many inputs", f"Node ID '#{name}': at most {MAX_INPUTS}.")
            )
        kinds[name] = kind[:200]
        if kind not in NODES:
            unknown[name] = [_unknown(name, kind[:200], node)]
        else:
            nodes[name] = Node(name, kind, inputs)
    if unknown:
        first = next(iter(unknown.values()))[0]
        raise GraphRefused(first, node_errors(unknown, kinds, {}))
    return nodes


def _unknown(name: str, kind: str, node: Mapping[str, Any]) -> NodeError:
    meta = node.get("_meta")
    title = meta.get("title", kind) if isinstance(meta, dict) else kind
    return NodeError(
        "missing_node_type",
        f"Node '{title}' not found. This farm runs graphs of ComfyUI's standard nodes only: GET /object_info lists them.",
        f"Node ID '#{name}' is a {kind}",
        {"node_id": name, "class_type": kind, "node_title": title},
    )


class _Check:
    """Checks nodes once each, however many outputs need them. `errors`: what is wrong, by node."""

    def __init__(self, nodes: Mapping[str, Node], files: Mapping[str, Sequence[str]]) -> None:
        self._nodes, self._files = nodes, files
        self.errors: dict[str, list[NodeError]] = {}
        self._behind: dict[str, frozenset[str]] = {}
        self._checked: set[str] = set()

    def is_sound(self, output: str) -> bool:
        """Return whether a node and all that it depends on are right."""
        for name in self.behind(output):
            if name not in self._checked:
                self._checked.add(name)
                self._check(self._nodes[name])
        return not any(name in self.errors for name in self.behind(output))

    def behind(self, output: str) -> frozenset[str]:
        """Return the nodes that a node depends on, with itself."""
        if output not in self._behind:
            found: dict[str, None] = {}
            pending = [output]
            while pending:
                name = pending.pop()
                if name in found:
                    continue
                found[name] = None
                links = (self._linked(value) for value in self._nodes[name].inputs.values())
                pending += [link[0] for link in links if link is not None]
            self._behind[output] = frozenset(found)
        return self._behind[output]

    def _linked(self, value: object) -> tuple[str, int] | None:
        """Return the node and output that a link leads to; None for anything else."""
        if not isinstance(value, list) or len(value) != 2:
            return None
        name, output = str(value[0])[:200], value[1]
        is_there = name in self._nodes and isinstance(output, int) and not isinstance(output, bool)
        return (name, output) if is_there else None

    def _check(self, node: Node) -> None:
        kind = NODES[node.kind]
        found = [error for name, wanted in kind.inputs.items() if (error := self._wrong(node, name, wanted))]
        if self._is_on_a_cycle(node.id):
            found.append(NodeError("dependency_cycle", "Dependency cycle detected", f"Node ID '#{node.id}' needs itself"))
        if found:
            self.errors[node.id] = found

    def _is_on_a_cycle(self, name: str) -> bool:
        links = (self._linked(value) for value in self._nodes[name].inputs.values())
        return any(link is not None and name in self.behind(link[0]) for link in links)

    def _wrong(self, node: Node, name: str, wanted: Input) -> NodeError | None:
        if name not in node.inputs:
            if not wanted.required:
                return None
            return NodeError("required_input_missing", "Required input is missing", name, {"input_name": name})
        value = node.inputs[name]
        info = {"input_name": name, "received_value": value if not isinstance(value, str) else value[:200]}
        if isinstance(value, list):
            return self._wrong_link(name, wanted, value)
        if wanted.is_link:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return NodeError("bad_linked_input", message, name, info)
        choices = choices_of(wanted, self._files)
        if choices is not None:
            return _wrong_choice(name, wanted, value, choices)
        return _wrong_value(name, wanted, value, info)

    def _wrong_link(self, name: str, wanted: Input, value: list[Any]) -> NodeError | None:
        info = {"input_name": name, "received_value": value if len(value) <= 2 else value[:2]}
        link = self._linked(value)
        if link is None:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return NodeError("bad_linked_input", f"{message} of a node in this graph", name, info)
        source: NodeKind = NODES[self._nodes[link[0]].kind]
        sent = source.outputs[link[1]] if 0 <= link[1] < len(source.outputs) else None
        if sent is None:
            return NodeError("bad_linked_input", "The linked node has no such output", f"{name}, {value}", info)
        if sent == wanted.kind:
            return None
        return NodeError(
            "return_type_mismatch",
            "Return type mismatch between linked nodes",
            f"{name}, received_type({sent}) mismatch input_type({wanted.kind})",
            {"input_name": name, "received_type": sent, "linked_node": value},
        )


def _wrong_choice(name: str, wanted: Input, value: object, choices: Sequence[str]) -> NodeError | None:
    if isinstance(value, str) and (value in choices or value.replace("\\", "/") in choices):
        return None
    shown = str(value)[:200]
    if wanted.files == "images":
        info = {"input_name": name, "received_value": shown}
        details = f"{name} - Invalid image file: {shown}"
        return NodeError("custom_validation_failed", "Custom validation failed for node", details, info)
    listed = str(list(choices)) if len(choices) <= _LISTED else f"(list of length {len(choices)})"
    config = [list(choices), dict(wanted.options)] if len(choices) <= _LISTED else None
    return NodeError(
        "value_not_in_list",
        "Value not in list",
        f"{name}: '{shown}' not in {listed}",
        {"input_name": name, "input_config": config, "received_value": shown},
    )


def _wrong_value(name: str, wanted: Input, value: object, info: dict[str, Any]) -> NodeError | None:
    number: float
    if wanted.kind == "STRING":
        if isinstance(value, str):
            return None
        return NodeError("invalid_input_type", "Failed to convert an input value to a STRING value", name, info)
    try:
        number = as_number(value, wanted.kind)
    except (TypeError, ValueError, OverflowError) as error:
        message = f"Failed to convert an input value to a {wanted.kind} value"
        return NodeError("invalid_input_type", message, f"{name}, {str(value)[:200]}, {error}", info)
    low, high = wanted.options["min"], wanted.options["max"]
    if number < low:
        return NodeError("value_smaller_than_min", f"Value {number} smaller than min of {low}", name, info)
    if not number <= high:
        return NodeError("value_bigger_than_max", f"Value {number} bigger than max of {high}", name, info)
    return None


def as_number(value: object, kind: str) -> float:
    """Return a value as ComfyUI's INT or FLOAT. Raises TypeError, ValueError or OverflowError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or (isinstance(value, str) and len(value) > 40):
        raise TypeError("it is not a number")
    return int(value) if kind == "INT" else float(value)
