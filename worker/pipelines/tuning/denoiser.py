"""The part of a pipeline that is tuned."""

from __future__ import annotations

from worker.pipelines.untyped import Pipeline


def denoiser_of(pipeline: Pipeline) -> Pipeline:
    """The part that runs once a step."""
    return pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet
