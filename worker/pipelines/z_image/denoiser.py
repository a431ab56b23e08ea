"""Predictions for the samples of a pass, in as little work as the transformer's placement allows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from worker.pipelines.stance import runs_uncompiled
from worker.pipelines.untyped import Pipeline
from worker.pipelines.z_image.sample import ZImageSample
from worker.pipelines.z_image.transformer import Predict, Prepare, ZImageTransformer2DModel


class Denoiser:
    """A transformer whose blocks pass through the device is called in one piece: its offloading learns from the first call
    in which order the blocks come, and fetches each ahead of its turn from then on."""

    def __init__(self, transformer: Pipeline) -> None:
        self._transformer = transformer
        self._dtype: torch.dtype = transformer.dtype  # Looked up once: it walks through all modules.

    def predict(self, samples: Sequence[ZImageSample]) -> list[torch.Tensor]:
        """16 x 1 x h/8 x w/8 for each row: a sample's own, or its positive and negative one, in the samples' order."""
        latents = [row for sample in samples for row in self._latents(sample)]
        timesteps = torch.cat([sample.model_timestep() for sample in samples for _ in sample.captions.all()])
        if self._is_offloaded or not isinstance(self._transformer, ZImageTransformer2DModel):
            captions = [caption for sample in samples for caption in sample.captions.all()]
            predictions: list[torch.Tensor] = self._transformer(latents, timesteps, captions, return_dict=False)[0]
            return predictions
        for sample in samples:
            if sample.contexts is None:
                sample.contexts = self._transformer.contexts(self._call_for(sample))
        contexts = [context for sample in samples for context in sample.contexts or ()]
        predictions = self._transformer(Predict(latents, timesteps, contexts))
        return predictions

    @property
    def _is_offloaded(self) -> bool:
        return hasattr(self._transformer, "_diffusers_hook")

    def _call_for(self, sample: ZImageSample) -> Prepare:
        return Prepare(self._latents(sample), sample.captions.all(), runs_uncompiled(sample.request))

    def _latents(self, sample: ZImageSample) -> list[torch.Tensor]:
        """One for each row, in the transformer's dtype."""
        return [sample.latents.to(self._dtype).unsqueeze(2)[0]] * len(sample.captions.all())
