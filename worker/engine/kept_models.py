"""Models that this process has rendered before, kept in host memory while another one is loaded."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from worker.device.machine import GIGABYTE, available_bytes
from worker.device.torch_device import free_cached_memory
from worker.engine.parts import EngineParts
from worker.memory.apply import place_in_one_allocation
from worker.memory.plan import CPU_SPARE

log = logging.getLogger(__name__)

HOST = torch.device("cpu")


@dataclass(frozen=True)
class _Placed:
    """Tensors of one component that were on a device other than the host, with that device."""

    tensors: list[torch.Tensor]
    device: torch.device


@dataclass(frozen=True)
class _Kept:
    parts: EngineParts
    placed: list[_Placed]


class KeptModels:
    """The least recently used one is dropped first, when memory is short. `free_host` measures what is free, in bytes.

    A model is brought back exactly as it was: same tier, same LoRAs, same results.
    """

    def __init__(self, free_host: Callable[[], int] = available_bytes) -> None:
        self._free_host = free_host
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def names(self) -> list[str]:
        """Return the ids of the models that are kept, oldest first."""
        return list(self._kept)

    def held_bytes(self) -> int:
        """Return the bytes of all weights that are kept."""
        return sum(
            tensor.nbytes
            for kept in self._kept.values()
            for module in kept.parts.modules
            for tensor in (*module.parameters(), *module.buffers())
        )

    def keep(self, parts: EngineParts) -> None:
        """Take ownership of a model that no request uses, and free its device memory; drop it where the host is too full.

        The caller must hold no other reference to the parts or what they contain.
        """
        model = parts.info.model
        parts.suspend()
        placed = [each for module in parts.modules for each in _placed_tensors(module)]
        needed = sum(tensor.nbytes for each in placed for tensor in each.tensors)
        if parts.modules and self._make_room(needed):
            for each in placed:
                for tensor in each.tensors:
                    tensor.data = tensor.data.to(HOST)
            self._kept[model] = _Kept(parts, placed)
            log.info("%s stays in host memory (%.1f GB moved there)", model, needed / GIGABYTE)
        else:
            log.info("%s is dropped: host memory does not hold it next to the next model", model)
        del parts, placed
        free_cached_memory()

    def take(self, model: str) -> EngineParts | None:
        """Place a kept model on its device again and return it; None where it is not kept.

        Raises torch's own errors when the device has too little memory; the model is then gone.
        """
        found = self._kept.pop(model, None)
        if found is None:
            return None
        started = time.perf_counter()
        for each in found.placed:
            place_in_one_allocation(each.tensors, each.device)
        found.parts.resume()
        seconds = time.perf_counter() - started
        log.info("%s was brought back from host memory in %.2f s", model, seconds)
        return replace(found.parts, info=replace(found.parts.info, load_seconds=seconds, in_host_memory=self.names()))

    def release(self, model: str) -> None:
        """Drop a model, if it is kept."""
        if self._kept.pop(model, None) is not None:
            free_cached_memory()

    def free_oldest(self) -> bool:
        """Drop the least recently used model; return whether there was one."""
        if not self._kept:
            return False
        model, _ = self._kept.popitem(last=False)
        log.info("%s is dropped from host memory to make room", model)
        free_cached_memory()
        return True

    def _make_room(self, needed: int) -> bool:
        while (fits := self._free_host() >= needed + CPU_SPARE) is False and self.free_oldest():
            pass
        return fits


def _placed_tensors(module: nn.Module) -> list[_Placed]:
    by_device: dict[torch.device, list[torch.Tensor]] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device != HOST:
            by_device.setdefault(tensor.device, []).append(tensor)
    return [_Placed(tensors, device) for device, tensors in by_device.items()]
