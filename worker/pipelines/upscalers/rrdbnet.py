"""RRDBNet, the generator of ESRGAN and Real-ESRGAN (Wang et al., arXiv 1809.00219, 2107.10833), for inference.

Names of modules are those of BasicSR's basicsr/archs/rrdbnet_arch.py, so that its weight files load as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ResidualDenseBlock(nn.Module):
    """Five densely connected convolutions with a scaled residual."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, growth)
        self.conv2 = _conv(features + growth, growth)
        self.conv3 = _conv(features + 2 * growth, growth)
        self.conv4 = _conv(features + 3 * growth, growth)
        self.conv5 = _conv(features + 4 * growth, features)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen.append(functional.leaky_relu(conv(torch.cat(seen, 1)), SLOPE, inplace=True))
        return torch.add(x, self.conv5(torch.cat(seen, 1)), alpha=SLOPE)


class RRDB(nn.Module):
    """Residual in residual dense block."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(features, growth)
        self.rdb2 = ResidualDenseBlock(features, growth)
        self.rdb3 = ResidualDenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=SLOPE)


class RRDBNet(nn.Module):
    """Enlarges `scale` times; input and output are batch x 3 x height x width, RGB, 0..1.

    `doublings`: layers that enlarge two times each. Some networks first fold `multiple` x `multiple` pixels into channels;
    the sides of their input must be multiples of that.
    """

    def __init__(self, blocks: int, features: int = 64, growth: int = 32, doublings: int = 2, multiple: int = 1) -> None:
        super().__init__()
        self.scale = (1 << doublings) // multiple
        self.multiple = multiple
        self.conv_first = _conv(3 * self.multiple**2, features)
        self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.conv_body = _conv(features, features)
        self.doublings = [f"conv_up{number + 1}" for number in range(doublings)]
        for name in self.doublings:
            self.add_module(name, _conv(features, features))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, 3)

    @classmethod
    def for_weights(cls, weights: Mapping[str, Tensor]) -> Self:
        """Return an empty network of the shape of these weights, in BasicSR's names."""
        first, growth = weights["conv_first.weight"], weights["body.0.rdb1.conv1.weight"]
        blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("body."))
        doublings = sum(f"conv_up{number}.weight" in weights for number in (1, 2, 3))
        multiple = {3: 1, 12: 2, 48: 4}[first.shape[1]]
        return cls(blocks, first.shape[0], growth.shape[0], doublings, multiple)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(functional.pixel_unshuffle(x, self.multiple) if self.multiple > 1 else x)
        features = first + self.conv_body(self.body(first))
        for name in self.doublings:
            conv = self.get_submodule(name)
            features = functional.leaky_relu(conv(functional.interpolate(features, scale_factor=2.0)), SLOPE, inplace=True)
        last: Tensor = self.conv_last(functional.leaky_relu(self.conv_hr(features), SLOPE, inplace=True))
        return last


_OLD_BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(weight|bias)")
_OLD_BODY = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")


def from_old_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of the first ESRGAN release (xinntao/ESRGAN, RRDBNet_arch.py) in BasicSR's names."""
    renamed = {}
    numbers = sorted({int(name.split(".")[1]) for name in weights if re.fullmatch(r"model\.\d+\.(weight|bias)", name)})
    doublings = [f"conv_up{number + 1}" for number in range(len(numbers) - 3)]
    names = dict(zip(numbers, ["conv_first", *doublings, "conv_hr", "conv_last"], strict=True))
    for name, tensor in weights.items():
        if match := _OLD_BLOCK.fullmatch(name):
            block, dense, conv, what = match.groups()
            renamed[f"body.{block}.rdb{dense}.conv{conv}.{what}"] = tensor
        elif match := _OLD_BODY.fullmatch(name):
            renamed[f"conv_body.{match[1]}"] = tensor
        else:
            _, number, what = name.split(".")
            renamed[f"{names[int(number)]}.{what}"] = tensor
    return renamed
