"""Errors of refused graphs, in ComfyUI's shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import InvalidInput


@dataclass(frozen=True)
class NodeError:
    """One thing that is wrong with a node: ComfyUI's `type`, a sentence, and what exactly (`details`)."""

    type: str
    message: str
    details: str = ""
    extra_info: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the error as ComfyUI's answers have it."""
        return {
            "type": self.type,
            "message": self.message,
            "details": self.details,
            "extra_info": dict(self.extra_info),
        }


def unsupported(message: str, details: str = "", **extra: object) -> NodeError:
    """Return the error of a node that ComfyUI would run and this farm does not."""
    return NodeError("unsupported_wiring", message, details, extra)


class GraphRefused(InvalidInput):
    """No part of a graph can be run. `error` is about the whole graph, `node_errors` name nodes by their ids."""

    code = "invalid_prompt"

    def __init__(self, error: NodeError, node_errors: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__(f"{error.message}{f': {error.details}' if error.details else ''}", field="prompt")
        self.error = error
        self.node_errors = dict(node_errors or {})


def node_errors(
    found: Mapping[str, Sequence[NodeError]], kinds: Mapping[str, str], outputs: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Return ComfyUI's `node_errors`: `kinds` are the classes of the nodes, `outputs` the output nodes that need each."""
    return {
        node: {
            "errors": [error.as_json() for error in errors],
            "dependent_outputs": list(outputs.get(node, ())),
            "class_type": kinds.get(node, ""),
        }
        for node, errors in found.items()
        if errors
    }
