"""Sample images and metadata for the tests of this package."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from core.imagefile import ImageMetadata, encode_png
from core.render import LoraRequest, RenderRecord

PROMPTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
"""Any text that JSON can hold, surrogates apart."""

RECORD = RenderRecord(
    family="z-image",
    device="cpu",
    dtype="float32",
    memory_policy="full",
    attention_backend="native",
    versions={"torch": "2.13.0"},
    batch_sizes=[1, 2],
    batches={"16x8": 1, "2x 16x8": 1},
    pipeline_guidance_scale=0.0,
    sigmas_or_timesteps=[1.0, 0.5],
)

METADATA = ImageMetadata(
    prompt="一只猫坐在窗边, a cat 🐈, “quoted”: yes",
    negative_prompt="模糊, blurry",
    seed=4294967294,
    num_inference_steps=8,
    guidance_scale=4.5,
    width=16,
    height=8,
    model="demo",
    random_weights=True,
    weights_revision="abc",
    scheduler="FlowMatchEulerDiscreteScheduler",
    strength=0.4,
    loras=(LoraRequest(name="ink", scale=0.8),),
    job_id="019a9b7c-0000-7abc-8def-0123456789ab",
    attempt=1,
    index=0,
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    farm_version="0.1.0",
    record=RECORD,
)

PIXELS = bytes(range(256)) + bytes(16 * 8 * 3 - 256)


def png(metadata: ImageMetadata = METADATA) -> bytes:
    return encode_png(PIXELS, 16, 8, metadata)
