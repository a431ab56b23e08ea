"""ComfyUI's graphs of standard nodes: the known nodes, the check of a graph, and the jobs that it stands for."""

from core.comfyui.continuations import with_joined_samplers
from core.comfyui.errors import GraphRefused, NodeError
from core.comfyui.graph_reading import read_graph
from core.comfyui.names import ModelFiles
from core.comfyui.plan import Plan, ReadStep
from core.comfyui.validation import Graph, checked_graph

__all__ = [
    "Graph",
    "GraphRefused",
    "ModelFiles",
    "NodeError",
    "Plan",
    "ReadStep",
    "checked_graph",
    "read_graph",
    "with_joined_samplers",
]
