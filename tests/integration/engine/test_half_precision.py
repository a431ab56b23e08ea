"""A VAE that overflows in fp16 decodes in fp32, for images and for previews, and returns to fp16."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.integration.engine.tiny_models import TinyModel
from worker.pipelines.decoding import LatentPreview
from worker.pipelines.stable_diffusion.family import decode_latents

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
LATENTS = torch.ones(1, 4, 8, 8, dtype=torch.float16)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Return SDXL with its VAE in fp16, as it is on a GPU."""
    made = TinyModel("sdxl-turbo", tmp_path_factory.mktemp("half"), "float32")
    made.pipeline.vae.half()
    return made


@pytest.mark.parametrize(
    "look",
    [
        lambda pipeline: decode_latents(pipeline, LATENTS, torch.Generator()),
        lambda pipeline: LatentPreview(pipeline.vae, 4).pixels(LATENTS),
    ],
)
def test_the_vae_decodes_in_full_precision(
    look: Callable[..., torch.Tensor], half: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, decoded = half.pipeline.vae, []
    original = vae.decode

    def decode(latents: torch.Tensor, **options: object) -> object:
        decoded.append((latents.dtype, vae.dtype))
        return original(latents, **options)

    monkeypatch.setattr(vae, "decode", decode)
    look(half.pipeline)
    assert decoded == [(torch.float32, torch.float32)]
    assert vae.dtype == torch.float16
