"""Read a checked graph backwards from its output nodes into steps, each of which becomes a job of the farm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from core.comfyui.errors import GraphRefused, NodeError, node_errors
from core.comfyui.names import network_scale
from core.comfyui.plan import Enlarge, Output, Plan, ReadStep, Render, Start
from core.comfyui.validation import Graph, Node, outputs_failed
from core.comfyui.values import LATENT_MULTIPLE, GraphImage, GraphLatent, GraphModel, Unsupported, resized, strength_of

MAX_STEPS = 16
MAX_TEXTS, MAX_TEXT_LENGTH = 100, 1_000_000
"""Texts that ConditioningCombine nodes may join for one sampler, and their characters: a few nodes can join one text with
itself a billion times."""
_SAME_SHAPE = 0.02
"""Relative difference of two aspect ratios that rounding a size explains."""
_SCALES = (2, 3, 4)
_WEIGHTS = re.compile(r"\([^()]*:\s*-?\d+(?:\.\d+)?\)")
_KEPT_METHODS = ("lanczos", "bislerp")


def read_graph(graph: Graph, image_sizes: Mapping[str, tuple[int, int]]) -> Plan:
    """Return the steps of a graph. `image_sizes`: in pixels, of the images that it loads.

    Raises GraphRefused when no output of it can be made here; an output that cannot be made beside others is left out.
    """
    reader = _Reader(graph, image_sizes)
    found: dict[str, list[NodeError]] = {}
    dependent: dict[str, list[str]] = {}
    outputs: list[Output] = []
    for name in graph.outputs:
        try:
            outputs.append(reader.output(graph.nodes[name]))
        except Unsupported as error:
            found[error.node] = [error.reason]
            dependent.setdefault(error.node, []).append(name)
    kinds = {node.id: node.kind for node in graph.nodes.values()}
    errors = {**graph.node_errors, **node_errors(found, kinds, dependent)}
    if not outputs:
        raise GraphRefused(outputs_failed(errors), errors)
    return Plan(tuple(reader.steps), tuple(outputs), errors)


_LOADER_INPUTS = {
    "CheckpointLoaderSimple": ("checkpoints", "ckpt_name"),
    "UNETLoader": ("diffusion_models", "unet_name"),
    "UnetLoaderGGUF": ("diffusion_models", "unet_name"),
}
_LORA_LOADERS = ("LoraLoader", "LoraLoaderModelOnly")


class _Reader:
    """Follows links backwards. `steps` grows in the order in which they can be run."""

    def __init__(self, graph: Graph, image_sizes: Mapping[str, tuple[int, int]]) -> None:
        self._nodes = graph.nodes
        self._reachable = graph.reachable
        self._sizes = image_sizes
        self._made: dict[object, int] = {}
        self._taken: set[str] = set()
        self.steps: list[ReadStep] = []

    def output(self, node: Node) -> Output:
        """Read what an output node needs; raise Unsupported."""
        image = self._image(node.link("images"))
        step = self._finished(image, node)
        prefix = node.inputs.get("filename_prefix")
        is_temporary = node.kind == "PreviewImage"
        kept = prefix if isinstance(prefix, str) and not is_temporary else "ComfyUI_temp"
        return Output(node.id, step, is_temporary, kept, self._take(node))

    def _take(self, node: Node) -> tuple[str, ...]:
        """Return the nodes that this one needs and that no earlier step has run, with itself as the last."""
        found: list[str] = []

        def visit(name: str) -> None:
            if name in self._taken:
                return
            self._taken.add(name)
            for value in self._nodes[name].inputs.values():
                if isinstance(value, list) and len(value) == 2 and str(value[0]) in self._nodes:
                    visit(str(value[0]))
            found.append(name)

        visit(node.id)
        return tuple(found)

    def _add(
        self, key: object, node: Node, work: Render | Enlarge, start: Start | None, warnings: Iterable[str] = ()
    ) -> int:
        if len(self.steps) >= MAX_STEPS:
            raise Unsupported(node, f"A graph may have at most {MAX_STEPS} sampler and upscaling steps here.")
        self.steps.append(ReadStep(node.id, work, start, self._take(node), tuple(dict.fromkeys(warnings))))
        self._made[key] = len(self.steps) - 1
        return self._made[key]

    def _image(self, link: tuple[str, int]) -> GraphImage:
        node = self._nodes[link[0]]
        match node.kind:
            case "VAEDecode":
                return self._decoded(node)
            case "LoadImage":
                name = str(node.inputs["image"])
                size = self._sizes[name]
                return GraphImage(Start(upload=name), *size, origin=size)
            case "ImageUpscaleWithModel":
                return self._enlarged(node)
            case "ImageScale":
                return self._scaled(node)
            case _:  # ImageScaleBy; the types of links were checked.
                image, factor = self._image(node.link("image")), float(node.inputs["scale_by"])
                return image.resized(image.width * factor, image.height * factor)

    def _decoded(self, node: Node) -> GraphImage:
        latent = self._latent(node.link("samples"))
        if (
            latent.image is None
            or latent.image.start.step is None
            or latent.image.resized(*latent.image.origin) != latent.image
        ):
            raise Unsupported(node, "VAEDecode decodes what no KSampler has rendered: link it to a sampler.")
        return latent.image

    def _enlarged(self, node: Node) -> GraphImage:
        image = self._image(node.link("image"))
        if image.upscaler is not None or (image.width, image.height) != image.origin:
            raise Unsupported(node, "An image is enlarged by one network only, and scaled after it, not before.")
        loader = self._nodes[node.link("upscale_model")[0]]
        name = str(loader.inputs["model_name"])
        scale = network_scale(name)
        return GraphImage(image.start, image.width * scale, image.height * scale, image.origin, name)

    def _scaled(self, node: Node) -> GraphImage:
        image = self._image(node.link("image"))
        width, height = self._wanted_size(node, image.width, image.height)
        return image.resized(width, height)

    def _wanted_size(self, node: Node, width: int, height: int) -> tuple[float, float]:
        """Return the size that ImageScale or LatentUpscale asks for; 0 keeps the aspect ratio, as in ComfyUI."""
        wanted_width, wanted_height = int(node.inputs["width"]), int(node.inputs["height"])
        if not wanted_width and not wanted_height:
            return width, height
        found = wanted_width or width * wanted_height / height, wanted_height or height * wanted_width / width
        if node.inputs["crop"] == "center" and abs(found[0] * height / (found[1] * width) - 1) > _SAME_SHAPE:
            raise Unsupported(node, "Images are not cropped here: set crop to disabled, or ask for the image's own shape.")
        return found

    def _finished(self, image: GraphImage, node: Node) -> int:
        """Return the step whose images an output node shows."""
        size = (image.width, image.height)
        if image.upscaler is None and size == image.origin:
            if image.start.step is None:
                raise Unsupported(node, "Nothing is to be rendered: the image is saved as it was loaded.")
            return image.start.step
        key = (image.start, image.upscaler, size)
        if key in self._made:
            return self._made[key]
        scale = size[0] / image.origin[0]
        whole = round(scale)
        fits = whole in _SCALES and all(
            abs(side - origin * whole) <= whole for side, origin in zip(size, image.origin, strict=True)
        )
        if not fits:
            raise Unsupported(
                node,
                "A finished image is enlarged 2, 3 or 4 times here: let the network and ImageScaleBy make up one of these, "
                "or render over it with VAEEncode and KSampler.",
                f"{image.origin[0]}x{image.origin[1]} to {size[0]}x{size[1]}",
            )
        last = self._nodes[node.link("images")[0]]
        return self._add(key, last, Enlarge(image.upscaler, whole), image.start)

    def _latent(self, link: tuple[str, int]) -> GraphLatent:
        node = self._nodes[link[0]]
        match node.kind:
            case "EmptyLatentImage" | "EmptySD3LatentImage":
                width, height = (int(node.inputs[side]) // LATENT_MULTIPLE * LATENT_MULTIPLE for side in ("width", "height"))
                return GraphLatent(width, height, int(node.inputs["batch_size"]))
            case "VAEEncode":
                image = self._image(node.link("pixels"))
                return GraphLatent(image.width, image.height, image=image)
            case "VAEEncodeForInpaint":
                return self._masked(node)
            case "KSampler" | "KSamplerAdvanced":
                return self._rendered(node)
            case "LatentUpscale":
                latent = self._latent(node.link("samples"))
                return resized(latent, *self._wanted_size(node, latent.width, latent.height))
            case _:  # LatentUpscaleBy
                latent, factor = self._latent(node.link("samples")), float(node.inputs["scale_by"])
                return resized(latent, latent.width * factor, latent.height * factor)

    def _masked(self, node: Node) -> GraphLatent:
        image = self._image(node.link("pixels"))
        loader = self._nodes[node.link("mask")[0]]
        if image.upscaler is not None:
            raise Unsupported(node, "A mask and a network that enlarges the image cannot be combined.")
        grow = int(node.inputs["grow_mask_by"])
        return GraphLatent(image.width, image.height, 1, image, str(loader.inputs["image"]), grow)

    def _rendered(self, node: Node) -> GraphLatent:
        """Return the latents that a sampler makes: those of the images of its step."""
        if node.id not in self._made:
            self._sample(node)
        number = self._made[node.id]
        work = self.steps[number].work
        assert isinstance(work, Render)  # noqa: S101 -- samplers make no other step
        size = (work.width, work.height)
        return GraphLatent(*size, count=work.count, image=GraphImage(Start(step=number), *size, origin=size))

    def _sample(self, node: Node) -> None:
        warnings: list[str] = []
        latent = self._latent(node.link("latent_image"))
        model = self._model(node)
        folder, key = _LOADER_INPUTS[model.loader.kind]
        prompt = self._text(node.link("positive"), model, warnings)
        negative = self._text(node.link("negative"), model, warnings)
        if _WEIGHTS.search(prompt) or _WEIGHTS.search(negative):
            warnings.append("Weights such as (word:1.3) in the texts have no effect.")
        strength = strength_of(node, latent)
        image = latent.image
        work = Render(
            loader=(folder, str(model.loader.inputs[key])),
            prompt=prompt,
            negative_prompt=negative,
            seed=int(node.inputs["seed" if node.kind == "KSampler" else "noise_seed"]),
            steps=int(node.inputs["steps"]),
            guidance=float(node.inputs["cfg"]),
            width=latent.width,
            height=latent.height,
            count=latent.count,
            strength=strength,
            loras=model.loras,
            upscaler=image.upscaler if image is not None else None,
            mask=latent.mask,
            grow_mask_by=latent.grow_mask_by,
            sampler=str(node.inputs["sampler_name"]),
            scheduler=str(node.inputs["scheduler"]),
            shift=model.shift,
            text_encoders=self._text_encoders(node),
            vae=self._vae_of(node, model),
        )
        warnings += self._about_scaling(node)
        self._add(node.id, node, work, image.start if image is not None else None, warnings)

    def _about_scaling(self, node: Node) -> list[str]:
        """Return warnings about how a start image is scaled between this sampler and the image or sampler before it."""
        found: list[str] = []
        each: Node | None = self._nodes[node.link("latent_image")[0]]
        while each is not None:
            if each.kind.startswith("LatentUpscale"):
                found.append(f"{each.kind} {each.id} scales the decoded image with Lanczos instead of the latents.")
            elif each.inputs.get("upscale_method", _KEPT_METHODS[0]) not in _KEPT_METHODS:
                found.append(f"upscale_method of {each.kind} {each.id} has no effect: images are scaled with Lanczos.")
            following = next((key for key in ("samples", "pixels", "image") if isinstance(each.inputs.get(key), list)), None)
            is_start = following is None or each.kind in ("VAEDecode", "KSampler", "KSamplerAdvanced")
            each = None if is_start or following is None else self._nodes[each.link(following)[0]]
        return found

    def _model(self, node: Node) -> GraphModel:
        loras: list[tuple[str, float]] = []
        shift: float | None = None
        each = self._nodes[node.link("model")[0]]
        while each.kind not in _LOADER_INPUTS:
            if each.kind in _LORA_LOADERS:
                loras.append((str(each.inputs["lora_name"]), float(each.inputs["strength_model"])))
            else:
                shift = float(each.inputs["shift"]) if shift is None else shift
            each = self._nodes[each.link("model")[0]]
        return GraphModel(each, tuple((name, scale) for name, scale in loras if scale), shift)

    def _text(self, link: tuple[str, int], model: GraphModel, warnings: list[str]) -> str:
        """Return the text of a conditioning, with those that it combines."""
        first = self._nodes[link[0]]
        parts: list[str] = []
        pending, taken, length = [first], 0, 0
        while pending:
            node = pending.pop()
            taken += 1
            if node.kind == "ConditioningCombine":
                warnings.append(f"ConditioningCombine {node.id} joins its texts with a comma.")
                pending += [self._nodes[node.link(f"conditioning_{number}")[0]] for number in (2, 1)]
            elif node.kind != "ConditioningZeroOut":
                parts.append(self._encoded_text(node, model, warnings))
                length += len(parts[-1])
            if taken > 2 * MAX_TEXTS or (len(parts) > 1 and length > MAX_TEXT_LENGTH):
                raise Unsupported(
                    first, f"At most {MAX_TEXTS} texts of {MAX_TEXT_LENGTH} characters together can be combined here."
                )
        if first.kind != "ConditioningCombine":
            return "".join(parts)
        return ", ".join(part.strip().rstrip(",") for part in parts if part.strip())

    def _encoded_text(self, node: Node, model: GraphModel, warnings: list[str]) -> str:
        clip = self._nodes[node.link("clip")[0]]
        while clip.kind == "LoraLoader":
            if clip.inputs["strength_clip"] != clip.inputs["strength_model"]:
                warnings.append(f"strength_clip of LoraLoader {clip.id} has no effect: strength_model is used for both.")
            clip = self._nodes[clip.link("clip")[0]]
        if clip.kind == "CheckpointLoaderSimple" and clip.inputs != model.loader.inputs:
            raise Unsupported(node, "A text encoder of another checkpoint cannot be used: link the CLIP of the model's own.")
        return str(node.inputs["text"])

    def _text_encoders(self, node: Node) -> tuple[str, ...]:
        found: dict[str, None] = {}
        pending, seen = [node.link("positive")[0], node.link("negative")[0]], set()
        while pending:
            each = self._nodes[pending.pop()]
            if each.id in seen:
                continue
            seen.add(each.id)
            found.update({str(value): None for key, value in each.inputs.items() if key.startswith("clip_name")})
            links = ("clip", "conditioning", "conditioning_1", "conditioning_2")
            pending += [each.link(key)[0] for key in links if isinstance(each.inputs.get(key), list)]
        return tuple(found)

    def _vae_of(self, sampler: Node, model: GraphModel) -> str | None:
        """Return the file of the VAE that decodes a sampler's latents; raise Unsupported for another checkpoint's."""
        for node in map(self._nodes.__getitem__, sorted(self._reachable)):
            if "vae" not in node.inputs or not isinstance(node.inputs.get("samples"), list):
                continue
            if node.link("samples")[0] != sampler.id:
                continue
            loader = self._nodes[node.link("vae")[0]]
            if loader.kind == "VAELoader":
                return str(loader.inputs["vae_name"])
            if loader.inputs != model.loader.inputs:
                raise Unsupported(node, "A VAE of another checkpoint cannot be used: link the VAE of the model's own.")
        return None
