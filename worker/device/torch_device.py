"""Resolve and query the torch device, pin host memory and copy tensors to the device asynchronously."""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
from pathlib import Path

import torch

from core.errors import RenderError
from worker.device.cores import usable_cores
from worker.device.machine import GIGABYTE, Machine, TextDevice, available_bytes

log = logging.getLogger(__name__)
_PROCESS = Path("/proc/self/status")
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)[a-z]?")
"""Names of torch.cuda.get_arch_list, such as sm_90a; ROCm has others."""
PINNED_CACHE_KEY = "pinned_max_cached_size_mb"


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the first CUDA device that this build of torch is for, else the CPU.

    Raise RenderError `invalid_input` for a device that does not exist here or that this build is not for.
    """
    if name == "auto":
        return _first_cuda() or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RenderError(f"'{name}' is not a device: use auto, cpu, cuda or cuda:N.", code="invalid_input") from None
    if device.type == "cuda":
        return _cuda(device)
    if device.type != "cpu":
        raise RenderError(f"'{name}' is not supported: use auto, cpu, cuda or cuda:N.", code="invalid_input")
    return device


def resolve_text_device(name: str, device: torch.device) -> torch.device | None:
    """Return the device that text encoders are set to; None for `auto` and for the model's own.

    Raise RenderError `invalid_input` for a device that does not exist here.
    """
    if name == "auto":
        return None
    try:
        found = resolve_device(name)
    except RenderError as error:
        raise RenderError(
            f"The text encoder cannot be placed: {error.message} Correct IMAGEFARM_TEXT_ENCODER_DEVICE, or set it to auto.",
            code="invalid_input",
        ) from error
    return None if found == device else found


def measure_text_device(device: torch.device | None) -> TextDevice | None:
    """Measure the free memory of a device for text encoders; None for none."""
    if device is None:
        return None
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    return TextDevice(str(device), int(free))


def _cuda(device: torch.device) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = device.index or 0
    if index >= count:
        raise RenderError(f"There is no cuda:{index} here: torch sees {count} CUDA devices.", code="invalid_input")
    if lacking := missing_kernels(index):
        raise RenderError(f"{lacking} Install another build, or set IMAGEFARM_DEVICE=cpu.", code="invalid_input")
    return torch.device("cuda", index)


def _first_cuda() -> torch.device | None:
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if not (lacking := missing_kernels(index)):
            return torch.device("cuda", index)
        log.warning(lacking)
    return None


def missing_kernels(index: int) -> str:
    """Return a sentence when this build of torch has no kernels for that GPU; empty when it has, or does not tell.

    Every calculation there would fail. A GPU runs kernels of its own major version (sm) that are not newer than it is, and
    compiles those in an intermediate form (compute) of any earlier version.
    """
    major, minor = torch.cuda.get_device_capability(index)
    built = [found for name in torch.cuda.get_arch_list() if (found := _ARCHITECTURE.fullmatch(name))]
    versions = [(found[1], int(found[2]), int(found[3])) for found in built]
    if not versions or any(
        (each[1:] <= (major, minor)) if each[0] == "compute" else (each[1] == major and each[2] <= minor)
        for each in versions
    ):
        return ""
    names = ", ".join(f"{each[1]}.{each[2]}" for each in versions)
    return (
        f"torch {torch.__version__} does not support cuda:{index}, {torch.cuda.get_device_name(index)}: its compute "
        f"capability is {major}.{minor}, and this build is for {names}."
    )


def use_device(device: torch.device) -> None:
    """Make the GPU the calling thread's current one: streams, events and many kernels use it unless given another."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def measure_machine(device: torch.device, max_gigabytes: float = 0.0, extra_host: int = 0) -> Machine:
    """Measure the free memory of the device and the host; `max_gigabytes` caps the device's, 0 means no cap.

    `extra_host`: bytes of host memory that count as free.
    """
    host = available_bytes() + extra_host
    most = int(max_gigabytes * GIGABYTE) or sys.maxsize
    if device.type != "cuda":
        return Machine(str(device), min(host, most), host)
    free = torch.cuda.mem_get_info(device)[0]
    return Machine(str(device), min(int(free), most), host, torch.cuda.get_device_capability(device))


def limit_memory(device: torch.device, max_gigabytes: float) -> None:
    """Limit how much of a GPU torch may take in this process; 0 means all. A CPU's memory is not limited."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = max_gigabytes * GIGABYTE / total or 1.0
        torch.cuda.set_per_process_memory_fraction(min(share, 1.0), device)


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that this process has taken, in GB (10^9 bytes): `host`, and `device` for a GPU.

    On a GPU it is what torch reserved since the model was loaded, without the CUDA context.
    """
    peaks = {"host": _peak_host_bytes() / GIGABYTE}
    if device.type == "cuda":
        peaks["device"] = torch.cuda.max_memory_reserved(device) / GIGABYTE
    return {name: round(value, 3) for name, value in peaks.items() if value}


def _peak_host_bytes() -> int:
    """Return the most host memory that this process has had resident, mapped weights included; 0 where it is unknown."""
    try:
        lines = _PROCESS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(values["VmHWM"].split()[0]) * 1024 if "VmHWM" in values else 0


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or which CPU instructions torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.backends.cpu.get_cpu_capability()})"


def device_uuid(device: torch.device) -> str:
    """Return the GPU's id as NVIDIA's tools print it, such as `GPU-1a2b...`; empty for a CPU or where torch has none."""
    if device.type != "cuda":
        return ""
    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    return f"GPU-{uuid}" if uuid else ""


def free_cached_memory() -> None:
    """Return unused device memory to the driver, for other processes."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def disable_pinned_rounding() -> None:
    """Stop torch from rounding pinned memory up to powers of two for reuse.

    The rounding adds about half again for the weights of Z-Image. Allocations above 1 MB are then made at their own size
    and freed at once, unless the user has configured this already.
    """
    try:
        current = torch._C._accelerator_getAllocatorSettings()
        if PINNED_CACHE_KEY not in current:
            # Settings that are not repeated here would fall back to their defaults.
            torch._C._accelerator_setAllocatorSettings(",".join(filter(None, (current, f"{PINNED_CACHE_KEY}:1"))))
    except (AttributeError, RuntimeError, ValueError) as error:
        log.info("pinned memory is rounded up to powers of two by this version of torch: %s", error)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a host tensor to the device, in its current stream; on a GPU the copy may still be running on return.

    A synchronous copy would wait for all work queued before it, which stalls the loop for a whole step.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def use_all_cores() -> None:
    """Use one thread for each physical core that this process may run on, unless OMP_NUM_THREADS is set."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cores())
