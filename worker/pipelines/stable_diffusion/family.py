"""The Stable Diffusion family: requests of one size share a forward pass, each with its own timestep and scheduler."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

import torch

from core.errors import InvalidInput
from core.render import RenderRequest
from worker.pipelines.embeddings import EmbeddingCache
from worker.pipelines.family import refuse_start_sigma
from worker.pipelines.latent_preview import LatentPreview
from worker.pipelines.loaded import Loaded
from worker.pipelines.pixels import to_pixels
from worker.pipelines.stable_diffusion.beginning import Beginning
from worker.pipelines.stable_diffusion.decoding import decode_latents
from worker.pipelines.stable_diffusion.sample import UNetSample
from worker.pipelines.stable_diffusion.text import Conditioning, encode, is_guided, is_xl
from worker.pipelines.stance import stance
from worker.pipelines.untyped import Pipeline

TOKEN_SIDE = 16
"""Side in pixels of what the memory plan counts as one token."""


class StableDiffusionFamily:
    """Alone in its pass, a sample is bit-identical to the stock pipeline on the same stack."""

    name = "stable-diffusion"
    concurrent: int | None = None
    has_steps = True
    decodes_apart = False
    encodes_apart = False

    def __init__(self, loaded: Loaded) -> None:
        self._pipeline: Pipeline = loaded.pipeline
        self._device = loaded.device
        self._text_device = loaded.text_device
        self._adapters = loaded.adapters
        self._is_xl = is_xl(loaded.pipeline)
        self._embeddings = EmbeddingCache[Conditioning](Conditioning.nbytes)
        self._beginning = Beginning(self._pipeline, self._device)
        self._preview = LatentPreview(self._pipeline.vae, self._pipeline.unet.config.in_channels)

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        for field, value in (("width", request.width), ("height", request.height)):
            if value % 8 or value <= 0:
                raise InvalidInput(f"{field} must be a multiple of 8; {value} is not.", field=field)
        refuse_start_sigma(request)
        self._adapters.check(request.loras)
        self._beginning.check(request, has_init_image)

    @torch.no_grad()
    def encode(self, request: RenderRequest) -> Conditioning:
        return self._embeddings.get(self._key(request), partial(self._conditioning, request))

    def recall(self, request: RenderRequest) -> Conditioning | None:
        found = self._embeddings.peek(self._key(request))
        if found is None:
            self._adapters.activate(request.loras)
        return found

    def _conditioning(self, request: RenderRequest) -> Conditioning:
        self._adapters.activate(request.loras)  # They may reach into the text encoder.
        return encode(self._pipeline, request, self._text_device).to(self._device)

    def _key(self, request: RenderRequest) -> Hashable:
        guided = is_guided(self._pipeline, request)
        return (request.prompt, request.negative_prompt if guided else None, guided, request.loras)

    @torch.no_grad()
    def start(self, request: RenderRequest, conditioning: Conditioning, init_image: bytes) -> UNetSample:
        begun = self._beginning.begin(request, conditioning, init_image)
        tokens = -(-request.width // TOKEN_SIDE) * -(-request.height // TOKEN_SIDE) * conditioning.rows
        return UNetSample(
            request=request,
            steps=len(begun.timesteps),
            group=_group(request, conditioning),
            tokens=tokens,
            pipeline_guidance_scale=request.guidance_scale,
            schedule=[float(timestep) for timestep in begun.timesteps.tolist()],
            latents=begun.latents,
            conditioning=conditioning,
            scheduler=begun.scheduler,
            timesteps=begun.timesteps,
            step_options=begun.step_options,
            generator=begun.generator,
            time_ids=begun.time_ids,
            guidance_embedding=begun.guidance_embedding,
        )

    @torch.no_grad()
    def step(self, samples: Sequence[UNetSample]) -> None:
        self._adapters.activate(samples[0].request.loras)
        with stance(self._pipeline, samples[0].request):
            outputs = self._predict(samples)
        rows = [sample.conditioning.rows for sample in samples]
        for sample, output in zip(samples, torch.split(outputs, rows), strict=True):
            sample.advance(output)

    def _predict(self, samples: Sequence[UNetSample]) -> torch.Tensor:
        """Rows in the samples' order."""
        timesteps = [sample.timestep.reshape(1).expand(sample.conditioning.rows) for sample in samples]
        embeddings = torch.cat([sample.conditioning.embeddings for sample in samples])
        predictions: torch.Tensor = self._pipeline.unet(
            torch.cat([sample.model_input() for sample in samples]),
            torch.cat(timesteps).to(self._device),
            encoder_hidden_states=embeddings,
            timestep_cond=_stack([sample.guidance_embedding for sample in samples]),
            added_cond_kwargs=self._sizes(samples),
            return_dict=False,
        )[0]
        return predictions

    def _sizes(self, samples: Sequence[UNetSample]) -> dict[str, torch.Tensor | None] | None:
        """XL's further conditioning, rows as in the embeddings."""
        if not self._is_xl:
            return None
        return {
            "text_embeds": _stack([sample.conditioning.pooled for sample in samples]),
            "time_ids": _stack([sample.time_ids for sample in samples]),
        }

    @torch.no_grad()
    def decode(self, sample: UNetSample) -> torch.Tensor:
        return to_pixels(decode_latents(self._pipeline, sample.latents, sample.generator), sample.latents)

    @torch.no_grad()
    def preview(self, sample: UNetSample) -> torch.Tensor | None:
        return self._preview.pixels(sample.latents if sample.estimate is None else sample.estimate)

    def close(self, sample: UNetSample) -> None:
        """Nothing outlives the sample."""


def _stack(rows: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [row for row in rows if row is not None]
    return torch.cat(present) if present else None


def _group(request: RenderRequest, conditioning: Conditioning) -> Hashable:
    """One tensor holds one size; long prompts may have more tokens in other pipelines."""
    if request.strict:
        return ("strict", request.id)
    return (request.width, request.height, conditioning.embeddings.shape[1], request.loras)
