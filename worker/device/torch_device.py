"""Resolve and query the torch device, pin host memory and copy tensors to the device without waiting."""

from __future__ import annotations

import gc
import logging
import sys

import torch

from core.errors import RenderError
from worker.device.machine import GIGABYTE, Machine, available_bytes


def resolve_device(name: str) -> torch.device:
    """`auto`: the first CUDA device, else the CPU. RenderError `invalid_input` for one that is not there."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RenderError(f"'{name}' is no device: use auto, cpu, cuda or cuda:N.", code="invalid_input") from None
    if device.type == "cuda":
        return _cuda(device)
    if device.type != "cpu":
        raise RenderError(f"'{name}' is not supported: use auto, cpu, cuda or cuda:N.", code="invalid_input")
    return device


def _cuda(device: torch.device) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = device.index or 0
    if index >= count:
        raise RenderError(f"There is no cuda:{index} here: torch sees {count} CUDA devices.", code="invalid_input")
    return torch.device("cuda", index)


def use_device(device: torch.device) -> None:
    """Make a card the calling thread's own: streams and events that name none, and many a kernel, go to that one."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def measure_machine(device: torch.device, most_gigabytes: float = 0.0) -> Machine:
    """What the device and the host have free now; of the device no more than `most_gigabytes`, 0 meaning all."""
    host = available_bytes()
    most = int(most_gigabytes * GIGABYTE) or sys.maxsize
    if device.type != "cuda":
        return Machine(str(device), min(host, most), host)
    free = torch.cuda.mem_get_info(device)[0]
    return Machine(str(device), min(int(free), most), host, torch.cuda.get_device_capability(device))


def limit_memory(device: torch.device, most_gigabytes: float) -> None:
    """Let torch take no more of a card in this process; 0 means all. A CPU's memory is not limited."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = most_gigabytes * GIGABYTE / total or 1.0
        torch.cuda.set_per_process_memory_fraction(min(share, 1.0), device)


def device_name(device: torch.device) -> str:
    """The card's name, or what kind of CPU instructions torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.backends.cpu.get_cpu_capability()})"


def free_cached_memory() -> None:
    """Give unused device memory back to whoever needs it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


PINNED_CACHE_KEY = "pinned_max_cached_size_mb"
log = logging.getLogger(__name__)


def disable_pinned_rounding() -> None:
    """Torch rounds pinned memory up to powers of two, half as much again for the weights of Z-Image, to use it again.

    Above 1 MB it is taken as it is and given back at once from now on, unless the user has set that already.
    """
    try:
        told = torch._C._accelerator_getAllocatorSettings()
        if PINNED_CACHE_KEY not in told:
            # What is not repeated here would fall back to its default.
            torch._C._accelerator_setAllocatorSettings(",".join(filter(None, (told, f"{PINNED_CACHE_KEY}:1"))))
    except (AttributeError, RuntimeError, ValueError) as error:
        log.info("pinned memory is rounded up to powers of two by this version of torch: %s", error)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy of a tensor on the host, in the order of the device's current stream; a card's may not be there yet on return.

    An ordinary copy ends when all that was queued before it has ended: the loop would stand still for a step.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
