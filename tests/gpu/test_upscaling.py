"""Upscalers on a GPU: the same image as on the CPU, and the record names the GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu.requirements import needs_a_gpu
from tests.unit.upscalers.test_enlargement import picture
from tests.unit.upscalers.test_family import a_request, encoded, finish
from worker.pipelines.upscalers.family import UpscaleFamily

pytestmark = needs_a_gpu


@pytest.mark.parametrize("upscaler", ["realesr-animevideov3", "realesrgan-x4plus-anime", "realesrgan-x4plus"])
def test_a_gpu_and_the_cpu_compute_the_same_image(upscaler: str, tmp_path: Path) -> None:
    source, results = encoded(picture(300, 200)), []
    for number, device in enumerate(("cuda", "cpu")):
        family = UpscaleFamily(device, [])
        sample = family.start(a_request(tmp_path, upscaler, 4, number), (), source)
        results.append(np.asarray(finish(family, sample), int))
        assert (sample.device_name == torch.cuda.get_device_name()) is (device == "cuda")
        family.close(sample)
    assert np.abs(results[0] - results[1]).mean() < 1
