"""List, drain, resume and remove machines."""

from __future__ import annotations

from urllib.parse import quote

from core.schemas.nodes import Node, NodeList, NodeRemoved
from imagefarm.transport import Transport

PATH = "/v1/nodes"


class Nodes:
    """The calls about machines, as `ImageFarm.nodes`. Changes need the scope admin; they raise NotFound."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> NodeList:
        """Return all machines with their workers."""
        return self._transport.read(NodeList, "GET", PATH)

    def drain(self, name: str) -> Node:
        """Let a machine finish its jobs and claim no others until it is resumed."""
        return self._transport.read(Node, "POST", f"{_path(name)}/drain")

    def resume(self, name: str) -> Node:
        """Let a machine claim jobs again."""
        return self._transport.read(Node, "POST", f"{_path(name)}/resume")

    def remove(self, name: str) -> NodeRemoved:
        """Let a machine's workers finish and stop; those that have ended leave the lists."""
        return self._transport.read(NodeRemoved, "DELETE", _path(name))


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"
