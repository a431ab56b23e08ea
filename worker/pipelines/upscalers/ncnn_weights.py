"""Read weights in ncnn's format: a text graph (`.param`) and the numbers alone (`.bin`), in the graph's order.

Source of the format: ncnn's src/modelbin.cpp and src/paramdict.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from core.errors import RenderError

PARAM_MAGIC = "7767517"
TAG_FLOAT32, TAG_FLOAT16 = 0x00000000, 0x01306B47
ARRAY_OPTION = -23300
WEIGHTLESS = frozenset({"Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp", "PixelShuffle"})


class DamagedUpscaler(RenderError):
    """The weights of an upscaler cannot be read; the message names file and damage."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="upscaler_unavailable")


@dataclass(frozen=True)
class Layer:
    """One line of a graph. `options`: ncnn's numbered parameters; arrays are left out."""

    kind: str
    name: str
    options: dict[int, float]

    def integer(self, option: int, default: int = 0) -> int:
        return int(self.options.get(option, default))


def read_graph(file: Path) -> list[Layer]:
    """Return the layers of a `.param` file, with either line ending. Raises DamagedUpscaler."""
    try:
        rows = [line.split() for line in file.read_text(encoding="ascii").splitlines() if line.strip()]
        if rows[0] != [PARAM_MAGIC]:
            raise ValueError("it does not begin with ncnn's magic number")
        layers = [_layer(row) for row in rows[2:]]
        if len(layers) != int(rows[1][0]):
            raise ValueError(f"{len(layers)} layers instead of {rows[1][0]}")
    except (OSError, ValueError, IndexError) as error:
        raise DamagedUpscaler(f"{file} is not a readable ncnn graph: {error}.") from error
    return layers


def _layer(row: Sequence[str]) -> Layer:
    kind, name, blobs = row[0], row[1], int(row[2]) + int(row[3])
    pairs = (item.split("=", 1) for item in row[4 + blobs :])
    options = {int(key): value for key, value in pairs}
    return Layer(kind, name, {key: float(value) for key, value in options.items() if key > ARRAY_OPTION})


def fill(network: nn.Module, graph: Path, weights: Path) -> None:
    """Copy the weights of a graph into the network's convolutions and PReLUs, in the order in which they are registered.

    Raises DamagedUpscaler when a layer does not fit, bytes are missing or left over, or a number is not finite.
    """
    layers = [layer for layer in read_graph(graph) if layer.kind not in WEIGHTLESS]
    modules = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.PReLU)]
    if len(layers) != len(modules):
        raise DamagedUpscaler(f"{graph} has {len(layers)} layers with weights instead of {len(modules)}.")
    try:
        reader = _Reader(weights.read_bytes())
        with torch.no_grad():
            for layer, module in zip(layers, modules, strict=True):
                _fill_layer(layer, module, reader)
        reader.expect_end()
    except (OSError, ValueError) as error:
        raise DamagedUpscaler(f"{weights} cannot be read as the weights of {graph.name}: {error}.") from error


def _fill_layer(layer: Layer, module: nn.Conv2d | nn.PReLU, reader: _Reader) -> None:
    if isinstance(module, nn.PReLU):
        if layer.kind != "PReLU" or layer.integer(0) != module.weight.numel():
            raise ValueError(f"layer {layer.name} is not the expected PReLU")
        module.weight.copy_(_finite(layer, reader.floats(module.weight.numel())))
        return
    shape, bias = tuple(module.weight.shape), module.bias
    sizes = (layer.integer(0), layer.integer(1), layer.integer(6))
    if layer.kind != "Convolution" or sizes != (shape[0], shape[2], module.weight.numel()) or bias is None:
        raise ValueError(f"layer {layer.name} is not the expected convolution of {list(shape)}")
    module.weight.copy_(_finite(layer, reader.tagged(module.weight.numel())).reshape(shape))
    bias.copy_(_finite(layer, reader.floats(bias.numel())))


def _finite(layer: Layer, numbers: torch.Tensor) -> torch.Tensor:
    if not bool(torch.isfinite(numbers).all()):
        raise ValueError(f"layer {layer.name} holds a number that is not finite")
    return numbers


class _Reader:
    """Takes blobs from the bytes of a `.bin` file, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        self._at = 0

    def floats(self, count: int) -> torch.Tensor:
        """Return `count` float32 numbers stored without a tag, as biases and slopes are."""
        return self._take(count, torch.float32)

    def tagged(self, count: int) -> torch.Tensor:
        """Return `count` numbers after a tag that names their type; 16-bit ones are padded to four bytes."""
        (tag,) = struct.unpack("<I", self._bytes(4))
        if tag == TAG_FLOAT32:
            return self._take(count, torch.float32)
        if tag != TAG_FLOAT16:
            raise ValueError(f"storage tag {tag:#010x} at byte {self._at - 4} is not supported")
        numbers = self._take(count, torch.float16).float()
        self._bytes(-self._at % 4)
        return numbers

    def expect_end(self) -> None:
        if left := len(self._data) - self._at:
            raise ValueError(f"{left} bytes are left over")

    def _take(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.frombuffer(self._bytes(count * dtype.itemsize), dtype=dtype)

    def _bytes(self, count: int) -> bytearray:
        end = self._at + count
        if end > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data)}, in the middle of a layer")
        taken, self._at = self._data[self._at : end], end
        return taken
