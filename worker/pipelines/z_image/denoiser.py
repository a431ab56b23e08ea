"""Run the transformer on the samples of a pass, with step-invariant conditioning cached unless blocks are streamed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worker.device.faults import is_out_of_memory
from worker.device.torch_device import free_cached_memory
from worker.models.libraries import Pipeline
from worker.models.z_image_transformer import Context, Predict, Prepare, ZImageTransformer2DModel
from worker.pipelines.execution_mode import runs_uncompiled
from worker.pipelines.z_image.sample import ZImageSample

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One row of a pass: an unguided sample's only one, or half of a guidance pair.

    `latents`: 16 x 1 x h/8 x w/8 in the transformer's dtype; `timestep`: shape 1; `context`: None if the transformer's
    stock forward is used.
    """

    latents: torch.Tensor
    timestep: torch.Tensor
    caption: torch.Tensor
    context: Context | None


class Denoiser:
    """Uses the stock forward for a transformer whose blocks are streamed through the device.

    Group offloading learns the order of the blocks from the first call and prefetches in that order afterwards. A first
    call that computes only the conditioning would teach it the wrong order.
    """

    def __init__(self, transformer: Pipeline) -> None:
        self._transformer = transformer
        self._dtype: torch.dtype = transformer.dtype  # Looked up once: it walks through all modules.

    def predict(self, samples: Sequence[ZImageSample]) -> list[torch.Tensor]:
        """Return 16 x 1 x h/8 x w/8 for each row, in the samples' order.

        A guidance pair that does not fit in memory runs as two passes until the end of its image, and its record notes it:
        the last bits differ. A strict sample tries the whole pair at each step.
        """
        rows = [row for sample in samples for row in self._rows(sample)]
        if len(samples) > 1 or samples[0].request.strict or "guidance_pair" not in samples[0].notes:
            try:
                return self._pass(rows)
            except BaseException as error:
                if len(samples) > 1 or len(rows) == 1 or not is_out_of_memory(error):
                    raise
                log.warning("a guidance pair does not fit in one pass, its halves run one after the other: %s", error)
            free_cached_memory()
            samples[0].notes["guidance_pair"] = "in halves"
        return [prediction for row in rows for prediction in self._pass([row])]

    def _pass(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        latents = [row.latents for row in rows]
        timesteps = torch.cat([row.timestep for row in rows])
        contexts = [row.context for row in rows if row.context is not None]
        predictions: list[torch.Tensor]
        if contexts:
            predictions = self._transformer(Predict(latents, timesteps, contexts))
        else:
            predictions = self._transformer(latents, timesteps, [row.caption for row in rows], return_dict=False)[0]
        return predictions

    def _rows(self, sample: ZImageSample) -> list[Row]:
        latents, timestep = sample.latents.to(self._dtype).unsqueeze(2)[0], sample.model_timestep()
        captions = sample.captions.all()
        if self._uses_stock_forward:
            return [Row(latents, timestep, caption, None) for caption in captions]
        if sample.contexts is None:
            call = Prepare([latents] * len(captions), captions, runs_uncompiled(sample.request))
            sample.contexts = self._transformer.contexts(call)
        return [Row(latents, timestep, *both) for both in zip(captions, sample.contexts, strict=True)]

    @property
    def _uses_stock_forward(self) -> bool:
        is_offloaded = hasattr(self._transformer, "_diffusers_hook")
        return is_offloaded or not isinstance(self._transformer, ZImageTransformer2DModel)
