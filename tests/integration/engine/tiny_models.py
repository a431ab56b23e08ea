"""Pipelines with tiny random weights, loaded as the engine loads real ones, and stock diffusers' result for a request."""

from __future__ import annotations

import io
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting
from PIL import Image

from core.catalogue import ModelPaths, load_catalogue
from core.catalogue.loras import LoraLibrary
from core.render import RenderRequest
from worker.models.load import LoadedPipeline, LoadRequest, load_pipeline
from worker.models.tiny_models import build_tiny_model
from worker.pipelines.adapters import Adapters
from worker.pipelines.family import AnyFamily, FamilyContext, make_family

Untyped: TypeAlias = Any


class TinyModel:
    """A model's family, and the stock pipeline with another copy of the same weights. `text_device`: of the family's."""

    def __init__(self, model_id: str, directory: Path, dtype: str, text_device: str = "auto") -> None:
        self.model = load_catalogue().get(model_id)
        folder = directory / f"{model_id}-{dtype}"
        if not folder.exists():
            build_tiny_model(model_id, folder)
        self._model_paths, self._dtype = ModelPaths(directory / "unused", {model_id: folder}), dtype
        self.loras = directory / "loras"
        loaded = self._load(text_device)
        self.pipeline: Any = loaded.pipeline
        self.adapters = Adapters(loaded.pipeline, self.model, LoraLibrary(directory))
        self.family: AnyFamily = make_family(
            FamilyContext(loaded.pipeline, self.model, loaded.device, loaded.text_device, self.adapters)
        )

    @cached_property
    def stock(self) -> Untyped:
        """Return the stock pipeline, loaded when a test first compares with it."""
        return self._load().pipeline

    def _load(self, text_device: str = "auto") -> LoadedPipeline:
        # A model that is built locally would ignore the folder, whose weights both copies must read.
        model = self.model.model_copy(update={"built_locally": False})
        request = LoadRequest(self._model_paths, "cpu", dtype=self._dtype, text_device=text_device)
        return load_pipeline(model, request, lambda stage, fraction: None)

    def start(self, request: RenderRequest, init_image: bytes = b"", mask: bytes = b"") -> Untyped:
        """Return a sample before its first step."""
        self.family.check(request, bool(init_image))
        return self.family.start(request, self.family.encode(request), init_image, mask)

    def alone(self, request: RenderRequest, init_image: bytes = b"", mask: bytes = b"") -> Untyped:
        """Return a sample with all its steps done, each alone in its pass."""
        sample = self.start(request, init_image, mask)
        while sample.step < sample.steps:
            self.family.step([sample])
        return sample

    def expected(self, request: RenderRequest, output_type: str, init_image: bytes = b"", mask: bytes = b"") -> Untyped:
        """Return the stock pipeline's result: latents (`latent`) or a PIL image (`pil`)."""
        return self._call_stock(request, init_image, mask, output_type=output_type)

    def expected_both(
        self, request: RenderRequest, init_image: bytes = b"", mask: bytes = b""
    ) -> tuple[torch.Tensor, bytes]:
        """Return the latents after the stock pipeline's last step, and the pixels that it makes of them, of one call."""
        seen: list[torch.Tensor] = []

        def note(
            _pipeline: object, _step: int, _timestep: object, tensors: dict[str, torch.Tensor]
        ) -> dict[str, torch.Tensor]:
            seen.append(tensors["latents"][0].clone())
            return tensors

        image = self._call_stock(request, init_image, mask, output_type="pil", callback_on_step_end=note)
        return seen[-1], image.tobytes()

    def _call_stock(self, request: RenderRequest, init_image: bytes, mask: bytes, **options: Untyped) -> Untyped:
        kind = AutoPipelineForInpainting if mask else AutoPipelineForImage2Image
        pipeline = kind.from_pipe(self.stock) if init_image else self.stock
        options |= {"width": request.width, "height": request.height}
        if init_image:
            options |= {"image": Image.open(io.BytesIO(init_image)), "strength": request.strength}
            if self.model.family == "stable-diffusion" and not mask:
                del options["width"], options["height"]
        if mask:
            options["mask_image"] = Image.open(io.BytesIO(mask))
        if request.start_sigma is not None:
            options |= {"strength": 1.0, "sigmas": sigmas_shifted_to(request.start_sigma, request.num_inference_steps)}
        offset = self.model.cfg == "offset"
        guidance = max(request.guidance_scale - 1.0, 0.0) if offset else request.guidance_scale
        pipeline.set_progress_bar_config(disable=True)
        return pipeline(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt or None,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=guidance,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            **options,
        ).images[0]


def sigmas_shifted_to(start: float, steps: int) -> list[float]:
    """Return even sigmas, the first of which a scheduler with shift 3 turns into `start`."""
    first = start / (3 - 2 * start)
    sigmas: list[float] = torch.linspace(first, first / steps, steps).tolist()
    return sigmas


def random_png(width: int, height: int, seed: int = 0) -> bytes:
    """Return a PNG of smooth random colours."""
    noise = torch.randint(0, 256, (4, 4, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise.numpy()).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def tiny_model(model_id: str, directory: Path, dtype: str = "float32") -> TinyModel:
    """Return a model that is built and loaded once a session."""
    return TinyModel(model_id, directory, dtype)
