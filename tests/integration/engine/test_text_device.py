"""Text encoders on a device of their own: the pixels are the same. The second device is the CPU by another name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
@pytest.mark.parametrize("model_id", ["demo", "sd-turbo"])
def test_pixels_are_those_of_the_stock_pipeline(models_dir: Path, model_id: str) -> None:
    torch.set_num_threads(1)
    tiny = TinyModel(model_id, models_dir, "float32", text_device="cpu:0")
    request = a_request(3, "a cat", 64, 2, guidance_scale=2.0, negative_prompt="dog")
    sample = tiny.alone(request)
    assert np.array_equal(tiny.family.decode(sample).numpy(), np.asarray(tiny.expected(request, "pil")))
    assert sample.notes == {"text_encoder": "cpu:0"}
