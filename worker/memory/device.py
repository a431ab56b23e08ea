"""The device an engine works on, and how much of its memory is free."""

from __future__ import annotations

import sys

import torch

from core.errors import RenderError
from worker.memory.choose import Machine
from worker.memory.host import available_bytes
from worker.memory.plan import GIGABYTE


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


def machine(device: torch.device, most_gigabytes: float = 0.0) -> Machine:
    """What the device and the host have free now; of the device no more than `most_gigabytes`, 0 meaning all."""
    host = available_bytes()
    most = int(most_gigabytes * GIGABYTE) or sys.maxsize
    if device.type != "cuda":
        return Machine(str(device), min(host, most), host)
    free = torch.cuda.mem_get_info(device)[0]
    return Machine(str(device), min(int(free), most), host, torch.cuda.get_device_capability(device))


def limit(device: torch.device, most_gigabytes: float) -> None:
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
