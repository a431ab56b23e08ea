"""The device an engine works on, and how much of its memory is free."""

from __future__ import annotations

import torch

from core.errors import RenderError
from worker.memory.choose import Machine
from worker.memory.host import available_bytes


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


def machine(device: torch.device) -> Machine:
    """What the device and the host have free now."""
    host = available_bytes()
    if device.type != "cuda":
        return Machine(str(device), host, host)
    free = torch.cuda.mem_get_info(device)[0]
    return Machine(str(device), int(free), host, torch.cuda.get_device_capability(device))


def device_name(device: torch.device) -> str:
    """The card's name, or what kind of CPU instructions torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.backends.cpu.get_cpu_capability()})"
