"""SwinIR (Liang et al., arXiv 2108.10257) for inference.

Names of modules are those of JingyunLiang/SwinIR's models/network_swinir.py, so that its weight files load as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K, subtracted from the input."""


@dataclass(frozen=True)
class SwinConfig:
    """Sizes of a network, as its weights tell them. `residual`: convolutions at the end of each group of blocks."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    hidden: int
    scale: int
    upsampler: Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv"]
    residual: Literal["1conv", "3conv"]
    features: int = 64

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> SwinConfig:
        """Derive the sizes from the shapes. Raises KeyError for weights of another network."""
        groups = 1 + _largest(weights, r"layers\.(\d+)\.")
        depths = tuple(1 + _largest(weights, rf"layers\.{g}\.residual_group\.blocks\.(\d+)\.") for g in range(groups))
        block = "layers.{}.residual_group.blocks.0."
        tables = [weights[block.format(g) + "attn.relative_position_bias_table"] for g in range(groups)]
        upsampler, scale = _upsampler(weights)
        return cls(
            dim=weights["conv_first.weight"].shape[0],
            depths=depths,
            heads=tuple(table.shape[1] for table in tables),
            window=(math.isqrt(tables[0].shape[0]) + 1) // 2,
            hidden=weights[block.format(0) + "mlp.fc1.weight"].shape[0],
            scale=scale,
            upsampler=upsampler,
            residual="1conv" if "conv_after_body.weight" in weights else "3conv",
            features=weights["conv_before_upsample.0.weight"].shape[0] if upsampler != "pixelshuffledirect" else 64,
        )


def _largest(weights: Mapping[str, Tensor], pattern: str) -> int:
    return max((int(match[1]) for name in weights if (match := re.match(pattern, name))), default=-1)


def _upsampler(weights: Mapping[str, Tensor]) -> tuple[Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv"], int]:
    if "conv_up1.weight" in weights:
        return "nearest+conv", 4 if "conv_up2.weight" in weights else 2
    if "conv_before_upsample.0.weight" not in weights:
        return "pixelshuffledirect", math.isqrt(weights["upsample.0.weight"].shape[0] // 3)
    if weights["upsample.0.weight"].shape[0] == 9 * weights["upsample.0.weight"].shape[1]:
        return "pixelshuffle", 3
    return "pixelshuffle", 1 << (1 + _largest(weights, r"upsample\.(\d+)\.") // 2)


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias per relative position."""

    relative_position_index: Tensor

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None, :] + (window - 1)
        self.register_buffer("relative_position_index", apart[0] * (2 * window - 1) + apart[1], persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`x`: windows x positions x channels; `mask`: windows x positions x positions, added to the scores."""
        count, positions, channels = x.shape
        q, k, v = self.qkv(x).reshape(count, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.reshape(positions, positions, self.heads).permute(2, 0, 1)[None]
        if mask is not None:
            bias = bias + mask.repeat(count // mask.shape[0], 1, 1)[:, None].to(bias.dtype)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(count, -1, -1, -1))
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(count, positions, channels))
        return out


class Mlp(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class SwinBlock(nn.Module):
    """Window attention and MLP; every second block shifts its windows by half their side."""

    def __init__(self, config: SwinConfig, heads: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = config.window, shift
        self.norm1 = nn.LayerNorm(config.dim)
        self.attn = WindowAttention(config.dim, config.window, heads)
        self.norm2 = nn.LayerNorm(config.dim)
        self.mlp = Mlp(config.dim, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: batch x height x width x channels; the sides are multiples of the window."""
        batch, height, width, channels = x.shape
        normed = self.norm1(x)
        mask = None
        if self.shift:
            normed = torch.roll(normed, (-self.shift, -self.shift), (1, 2))
            mask = _shift_mask(height, width, self.window, self.shift, x.device)
        windows = self.attn(_windows(normed, self.window), mask)
        back = windows.reshape(batch, height // self.window, width // self.window, self.window, self.window, channels)
        back = back.transpose(2, 3).reshape(batch, height, width, channels)
        if self.shift:
            back = torch.roll(back, (self.shift, self.shift), (1, 2))
        x = x + back
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def _windows(x: Tensor, side: int) -> Tensor:
    """Return windows x positions x channels of batch x height x width x channels."""
    batch, height, width, channels = x.shape
    split = x.reshape(batch, height // side, side, width // side, side, channels).transpose(2, 3)
    return split.reshape(-1, side * side, channels)


def _shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Return -100 for positions that only the roll brought into one window, else 0."""
    region = torch.zeros(1, height, width, 1, device=device)
    bands = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in bands for c in bands):
        region[:, rows, columns] = number
    numbers = _windows(region, window)[..., 0]
    apart = numbers[:, None, :] != numbers[:, :, None]
    return apart * -100.0


class ResidualGroup(nn.Module):
    """Swin blocks, a convolution and a residual (RSTB in the paper)."""

    def __init__(self, config: SwinConfig, depth: int, heads: int) -> None:
        super().__init__()
        blocks = [SwinBlock(config, heads, 0 if number % 2 == 0 else config.window // 2) for number in range(depth)]
        self.residual_group = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
        self.conv = _group_conv(config)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for block in self.residual_group["blocks"]:  # type: ignore[attr-defined]
            out = block(out)
        result: Tensor = self.conv(out.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + x
        return result


def _group_conv(config: SwinConfig) -> nn.Module:
    dim = config.dim
    if config.residual == "1conv":
        return nn.Conv2d(dim, dim, 3, padding=1)
    slope = nn.LeakyReLU(0.2)
    narrow = [nn.Conv2d(dim, dim // 4, 3, padding=1), slope, nn.Conv2d(dim // 4, dim // 4, 1), slope]
    return nn.Sequential(*narrow, nn.Conv2d(dim // 4, dim, 3, padding=1))


class SwinIR(nn.Module):
    """Enlarges `scale` times; input and output are batch x 3 x height x width, RGB, 0..1.

    The sides of the input must be multiples of `multiple`, the window's side.
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.scale, self.multiple, self.config = config.scale, config.window, config
        dim, features = config.dim, config.features
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        self.layers = nn.ModuleList(
            ResidualGroup(config, depth, heads) for depth, heads in zip(config.depths, config.heads, strict=True)
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = _group_conv(config)
        if config.upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(nn.Conv2d(dim, 3 * self.scale**2, 3, padding=1), nn.PixelShuffle(self.scale))
            return
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(dim, features, 3, padding=1), nn.LeakyReLU())
        if config.upsampler == "pixelshuffle":
            steps = [3] if self.scale == 3 else [2] * int(math.log2(self.scale))
            layers = [(nn.Conv2d(features, features * step**2, 3, padding=1), nn.PixelShuffle(step)) for step in steps]
            self.upsample = nn.Sequential(*(layer for pair in layers for layer in pair))
        else:
            self.conv_up1 = nn.Conv2d(features, features, 3, padding=1)
            if self.scale == 4:
                self.conv_up2 = nn.Conv2d(features, features, 3, padding=1)
            self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    @classmethod
    def for_weights(cls, weights: Mapping[str, Tensor]) -> Self:
        """Return an empty network of the shape of these weights."""
        return cls(SwinConfig.of(weights))

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.tensor(MEAN, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
        first = self.conv_first(x - mean)
        features = self.conv_after_body(self._body(first)) + first
        return self._enlarge(features) + mean

    def _body(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed["norm"](x.permute(0, 2, 3, 1))
        for layer in self.layers:
            tokens = layer(tokens)
        out: Tensor = self.norm(tokens).permute(0, 3, 1, 2)
        return out

    def _enlarge(self, x: Tensor) -> Tensor:
        if self.config.upsampler == "pixelshuffledirect":
            direct: Tensor = self.upsample(x)
            return direct
        x = self.conv_before_upsample(x)
        if self.config.upsampler == "pixelshuffle":
            shuffled: Tensor = self.conv_last(self.upsample(x))
            return shuffled
        for conv in (self.conv_up1, self.conv_up2) if self.scale == 4 else (self.conv_up1,):
            x = functional.leaky_relu(conv(functional.interpolate(x, scale_factor=2.0)), 0.2)
        last: Tensor = self.conv_last(functional.leaky_relu(self.conv_hr(x), 0.2))
        return last
