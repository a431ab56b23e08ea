"""The Stable Diffusion family: samples of one size share a pass of the UNet."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

import torch

from core.errors import InvalidInput
from core.render import RenderRequest
from worker.memory.estimate import tokens
from worker.models.libraries import Pipeline, Vae
from worker.pipelines.decoding import LatentPreview, to_pixels, upcast_while_decoding
from worker.pipelines.embedding_cache import EmbeddingCache
from worker.pipelines.execution_mode import execution_mode
from worker.pipelines.family import FamilyContext, refuse_start_sigma
from worker.pipelines.stable_diffusion.sample import SamplePreparer, UNetSample
from worker.pipelines.stable_diffusion.text import Conditioning, encode, is_guided, is_xl


def decode_latents(pipeline: Pipeline, latents: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Decode as the Stable Diffusion pipelines do; returns 1 x 3 x height x width, about -1..1."""
    vae = pipeline.vae
    if not is_xl(pipeline):
        image: torch.Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False, generator=generator)[0]
        return image
    return _decode_xl(vae, latents)


def _decode_xl(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    with upcast_while_decoding(vae):
        latents = latents.to(vae.dtype)
        image: torch.Tensor = vae.decode(_unscaled(vae, latents), return_dict=False)[0]
        return image


def _unscaled(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    mean, std = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or std is None:
        unscaled: torch.Tensor = latents / vae.config.scaling_factor
        return unscaled
    shape = (1, len(mean), 1, 1)
    mean_tensor = torch.tensor(mean).view(shape).to(latents.device, latents.dtype)
    std_tensor = torch.tensor(std).view(shape).to(latents.device, latents.dtype)
    shifted: torch.Tensor = latents * std_tensor / vae.config.scaling_factor + mean_tensor
    return shifted


class StableDiffusionFamily:
    """Renders Stable Diffusion; a sample alone in its pass is bit-identical to the stock pipeline on the same stack."""

    name = "stable-diffusion"
    max_samples: int | None = None
    has_steps = True
    can_overlap_decode = False
    can_overlap_encode = False

    def __init__(self, loaded: FamilyContext) -> None:
        self._context = loaded
        self._pipeline: Pipeline = loaded.pipeline
        self._device = loaded.device
        self._text_device = loaded.text_device
        self._is_xl = is_xl(loaded.pipeline)
        self._embeddings = EmbeddingCache[Conditioning](Conditioning.nbytes)
        self._preparer = SamplePreparer(self._pipeline, self._device)
        self._preview = LatentPreview(self._pipeline.vae, self._pipeline.vae.config.latent_channels)

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        for field, value in (("width", request.width), ("height", request.height)):
            if value % 8 or value <= 0:
                raise InvalidInput(f"{field} must be a multiple of 8; {value} is not.", field=field)
        refuse_start_sigma(request)
        if request.loras:
            self._context.adapters.check(request.loras)
        self._preparer.check(request, has_init_image)

    @torch.no_grad()
    def encode(self, request: RenderRequest) -> Conditioning:
        return self._embeddings.get(self._key(request), partial(self._conditioning, request))

    def cached_conditioning(self, request: RenderRequest) -> Conditioning | None:
        return self._embeddings.peek(self._key(request))

    def prepare_adapters(self, request: RenderRequest) -> None:
        self._context.use_adapters(request.loras)

    def _conditioning(self, request: RenderRequest) -> Conditioning:
        self._context.use_adapters(request.loras)  # They may change the text encoder.
        return encode(self._pipeline, request, self._text_device).to(self._device)

    def _key(self, request: RenderRequest) -> Hashable:
        guided = is_guided(self._pipeline, request)
        return (request.prompt, request.negative_prompt if guided else None, guided, request.loras)

    @torch.no_grad()
    def start(self, request: RenderRequest, conditioning: Conditioning, init_image: bytes, mask: bytes = b"") -> UNetSample:
        prepared = self._preparer.prepare(request, conditioning, init_image, mask)
        return UNetSample(
            request=request,
            steps=len(prepared.timesteps),
            group=_group(request, conditioning),
            tokens=tokens(request.width, request.height) * conditioning.rows,
            pipeline_guidance_scale=request.guidance_scale,
            schedule=[float(timestep) for timestep in prepared.timesteps.tolist()],
            latents=prepared.latents,
            conditioning=conditioning,
            scheduler=prepared.scheduler,
            timesteps=prepared.timesteps,
            step_options=prepared.step_options,
            generator=prepared.generator,
            time_ids=prepared.time_ids,
            guidance_embedding=prepared.guidance_embedding,
            inpainting=prepared.inpainting,
            notes=self._context.decoder_notes(request) | self._context.text_notes(),
        )

    @torch.no_grad()
    def step(self, samples: Sequence[UNetSample]) -> None:
        self._context.use_adapters(samples[0].request.loras)
        with execution_mode(self._pipeline, samples[0].request):
            outputs = self._predict(samples)
        rows = [sample.conditioning.rows for sample in samples]
        for sample, output in zip(samples, torch.split(outputs, rows), strict=True):
            sample.advance(output)

    def _predict(self, samples: Sequence[UNetSample]) -> torch.Tensor:
        """Return the UNet's output, rows in the samples' order."""
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
        """Return XL's additional conditioning, rows as in the embeddings."""
        if not self._is_xl:
            return None
        return {
            "text_embeds": _stack([sample.conditioning.pooled for sample in samples]),
            "time_ids": _stack([sample.time_ids for sample in samples]),
        }

    @torch.no_grad()
    def decode(self, sample: UNetSample) -> torch.Tensor:
        if (tiny := self._context.decoder_for(sample.request)) is not None:
            return to_pixels(tiny.decode(sample.latents), sample.latents)
        return to_pixels(decode_latents(self._pipeline, sample.latents, sample.generator), sample.latents)

    @torch.no_grad()
    def preview(self, sample: UNetSample) -> torch.Tensor | None:
        return self._preview.pixels(sample.latents if sample.estimate is None else sample.estimate)

    def close(self, sample: UNetSample) -> None:
        """Do nothing: a sample holds no state outside of itself."""


def _stack(rows: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [row for row in rows if row is not None]
    return torch.cat(present) if present else None


def _group(request: RenderRequest, conditioning: Conditioning) -> Hashable:
    """Return the group key. A pass needs equal sizes and equal numbers of prompt tokens."""
    if request.strict:
        return ("strict", request.id)
    return (request.width, request.height, conditioning.embeddings.shape[1], request.loras)
