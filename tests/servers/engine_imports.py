"""Imports of an engine process and of the models that it loads, for processes that are forked from one with them."""

import worker.engine.builder
import worker.engine.image_decoder
import worker.engine.loop
import worker.engine.parked_models
import worker.engine.process
import worker.engine.prompt_encoder
import worker.pipelines.stock.family  # noqa: F401
