"""Imports of an engine process and of the models that it loads, for processes that are forked from one with them."""

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import worker.engine.builder
import worker.engine.image_decoder
import worker.engine.kept_models
import worker.engine.loop
import worker.engine.process
import worker.engine.prompt_encoder
import worker.engine.upscaling
import worker.pipelines.stable_diffusion.family
import worker.pipelines.stock.family
import worker.pipelines.z_image.family  # noqa: F401

# At its first call transformers compiles a thousand patterns: a third of the load of a tiny model.
get_checkpoint_conversion_mapping("any")
