"""Images enlarged by tiles: equal to the whole, every scale, alpha."""

import numpy as np
import pytest
import torch
from PIL import Image

from core.catalogue.upscalers import list_upscalers
from core.errors import InvalidInput
from worker.pipelines.upscalers.enlargement import Enlargement, LoadedUpscaler
from worker.pipelines.upscalers.network import Tiling, tiling_of
from worker.pipelines.upscalers.tiles import cut

CPU = torch.device("cpu")
FAST = "realesr-animevideov3"


def picture(width: int, height: int) -> Image.Image:
    """Return an image with edges, gradients and noise."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 60, (height, width))
    rings = 128 + 100 * np.sin(np.hypot(x - width / 2, y - height / 2) / 3)
    return Image.fromarray(np.stack([rings, (x * 5) % 256, noise + y % 150], -1).clip(0, 255).astype(np.uint8))


def enlarged(loaded: LoadedUpscaler, source: Image.Image, scale: int) -> np.ndarray:
    enlargement = Enlargement(loaded, source, scale)
    result = np.zeros((enlargement.height, enlargement.width, enlargement.channels), np.uint8)
    for tile in enlargement.tiles:
        left, top, right, bottom = enlargement.box_of(tile)
        result[top:bottom, left:right] = enlargement.compute(tile).numpy()
    return result


@pytest.mark.parametrize(
    ("name", "scale", "size", "levels"),
    [
        (FAST, 4, (150, 70), 0),
        (FAST, 2, (150, 70), 0),
        (FAST, 3, (150, 70), 0),
        ("lanczos", 3, (150, 70), 0),
        ("realesrgan-x4plus-anime", 4, (120, 16), 1),
    ],
)
def test_tiles_equal_the_whole(name: str, scale: int, size: tuple[int, int], levels: int) -> None:
    upscaler, source = list_upscalers([]).get(name), picture(*size)
    whole = LoadedUpscaler(upscaler, CPU, Tiling(1024, 0))
    halo = whole.tiling.halo if whole.network is None else tiling_of(whole.network).halo
    tiled = LoadedUpscaler(upscaler, CPU, Tiling(64, halo or 8))
    for loaded in (whole, tiled):
        if loaded.network is not None:
            loaded.network, loaded.dtype = loaded.network.float(), torch.float32
    difference = enlarged(whole, source, scale).astype(int) - enlarged(tiled, source, scale)
    assert np.abs(difference).max() <= levels


def test_a_missing_halo_is_seen() -> None:
    upscaler, source = list_upscalers([]).get(FAST), picture(100, 40)
    whole, tiled = (LoadedUpscaler(upscaler, CPU, tiling) for tiling in (Tiling(1024, 0), Tiling(32, 0)))
    difference = enlarged(whole, source, 4).astype(int) - enlarged(tiled, source, 4)
    assert np.abs(difference).max() > 4


def test_the_colours_of_the_source_stay() -> None:
    source = Image.new("RGB", (24, 24), (200, 60, 20))
    result = enlarged(LoadedUpscaler(list_upscalers([]).get(FAST), CPU), source, 4)
    assert result.shape == (96, 96, 3)
    assert np.abs(result[48, 48].astype(int) - (200, 60, 20)).max() < 16


def test_alpha_is_kept() -> None:
    source = picture(40, 30).convert("RGBA")
    source.putalpha(Image.linear_gradient("L").resize((40, 30)))
    result = enlarged(LoadedUpscaler(list_upscalers([]).get(FAST), CPU), source, 2)
    expected = np.asarray(source.getchannel("A").resize((80, 60), Image.Resampling.LANCZOS))
    assert result.shape == (60, 80, 4)
    assert (result[..., 3] == expected).all()


def test_other_scales_are_refused() -> None:
    loaded = LoadedUpscaler(list_upscalers([]).get(FAST), CPU)
    with pytest.raises(InvalidInput, match="enlarges by 2, 3, 4; 5 is not"):
        Enlargement(loaded, picture(8, 8), 5)


def test_tiles_cover_each_pixel_once_and_start_at_multiples() -> None:
    covered = np.zeros((90, 210), int)
    for tile in cut(210, 90, 64, 16):
        left, top, right, bottom = tile.inner
        covered[top:bottom, left:right] += 1
        assert tile.outer[0] % 16 == tile.outer[1] % 16 == 0
        assert tile.inner_in_outer[2] - tile.inner_in_outer[0] == right - left
    assert (covered == 1).all()
