"""What the nodes of a graph pass on to each other, in the farm's terms."""

from __future__ import annotations

from dataclasses import dataclass

from core.comfyui.errors import unsupported
from core.comfyui.plan import Start
from core.comfyui.validation import Node

LATENT_MULTIPLE = 8


class Unsupported(Exception):
    """A node that this farm cannot run."""

    def __init__(self, node: Node, message: str, details: str = "") -> None:
        super().__init__(message)
        self.node, self.reason = node.id, unsupported(message, details or f"{node.kind} {node.id}", node_id=node.id)


@dataclass(frozen=True)
class GraphImage:
    """An image in the graph: its origin, its size in pixels, and the network that enlarged it."""

    start: Start
    width: int
    height: int
    origin: tuple[int, int]
    """The size before it was enlarged or scaled."""
    upscaler: str | None = None

    def resized(self, width: float, height: float) -> GraphImage:
        """Return the image at another size."""
        return GraphImage(self.start, max(round(width), 1), max(round(height), 1), self.origin, self.upscaler)


@dataclass(frozen=True)
class GraphLatent:
    """Latents in the graph: empty ones, or those of an image. Sizes are in pixels of the image."""

    width: int
    height: int
    count: int = 1
    image: GraphImage | None = None
    mask: str | None = None
    grow_mask_by: int = 0


@dataclass(frozen=True)
class GraphModel:
    """What a chain of nodes makes of a loader's model."""

    loader: Node
    loras: tuple[tuple[str, float], ...]
    shift: float | None


def resized(latent: GraphLatent, width: float, height: float) -> GraphLatent:
    """Return the latents at another size in pixels, rounded as ComfyUI rounds."""
    sides = [max(int(side) // LATENT_MULTIPLE, 2) * LATENT_MULTIPLE for side in (width, height)]
    image = latent.image.resized(*sides) if latent.image is not None else None
    return GraphLatent(sides[0], sides[1], latent.count, image, latent.mask, latent.grow_mask_by)


def strength_of(node: Node, latent: GraphLatent) -> float | None:
    """Return which share of the noise schedule a sampler runs over a start image; None when it starts from noise."""
    denoise = _denoise(node)
    if latent.image is None:
        if denoise < 1:
            raise Unsupported(
                node, f"denoise {denoise:g} needs an image to start from: link VAEEncode, or set denoise to 1."
            )
        return None
    if denoise <= 0:
        raise Unsupported(node, "denoise 0 changes nothing: set it above 0.")
    return denoise


def _denoise(node: Node) -> float:
    if node.kind == "KSampler":
        return float(node.inputs["denoise"])
    steps, first, last = (int(node.inputs[name]) for name in ("steps", "start_at_step", "end_at_step"))
    whole = node.inputs["add_noise"] == "enable" and node.inputs["return_with_leftover_noise"] == "disable" and last >= steps
    if not whole or first >= steps:
        raise Unsupported(
            node,
            "A sampler that ends early, or continues another one's noise, has no counterpart here: use KSampler, or "
            "KSamplerAdvanced with add_noise, without leftover noise and to the last step.",
        )
    return (steps - first) / steps
