"""SRVGGNetCompact, the small network of Real-ESRGAN's video and general models, for inference.

Names of modules are those of BasicSR's basicsr/archs/srvgg_arch.py, so that its weight files load as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

from torch import Tensor, nn
from torch.nn import functional


class SRVGGNetCompact(nn.Module):
    """Convolutions and PReLUs that learn the difference to the nearest-neighbour enlargement.

    Input and output are batch x 3 x height x width, RGB, 0..1; the output is `scale` times as large.
    """

    multiple = 1

    def __init__(self, convolutions: int, features: int = 64, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, 3 * scale * scale, 3, padding=1))

    @classmethod
    def for_weights(cls, weights: Mapping[str, Tensor]) -> Self:
        """Return an empty network of the shape of these weights."""
        last = max(int(name.split(".")[1]) for name in weights if name.startswith("body."))
        scale = math.isqrt(weights[f"body.{last}.weight"].shape[0] // 3)
        return cls(last // 2 - 1, weights["body.0.weight"].shape[0], scale)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = functional.pixel_shuffle(self.body(x), self.scale)
        return residual + functional.interpolate(x, scale_factor=float(self.scale))
