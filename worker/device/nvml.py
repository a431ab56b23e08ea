"""Read memory, load, temperature, power and energy of a GPU from NVIDIA's management library, without a package for it.

Source: NVML API reference, https://docs.nvidia.com/deploy/nvml-api/. The library comes with the driver.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

LIBRARY = "libnvidia-ml.so.1"
READ_SECONDS = 1.0
"""Longest wait for the driver, whose calls may hang while a GPU fails: heartbeats must go on."""
_SUCCESS = 0
_TEMPERATURE_GPU = 0


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class GpuReader:
    """Reads one GPU by its UUID. Where there is no library, GPU or value, it reports less and never raises."""

    def __init__(self, load: Callable[[], Any] = lambda: ctypes.CDLL(LIBRARY)) -> None:
        self._load = load
        self._library: Any = None
        self._failed = False
        self._handles: dict[str, ctypes.c_void_p] = {}
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None
        self._is_late = False
        self._found: dict[str, float] = {}

    def read(self, uuid: str) -> dict[str, float]:
        """Return what the GPU reports: bytes, `utilization` 0 to 1, degrees Celsius, watts, joules; {} without one.

        Also {} while the driver does not answer.
        """
        if self._failed:
            return {}
        with self._lock:
            reading = self._reading
            if reading is None or not reading.is_alive():
                reading = threading.Thread(target=self._note, args=(uuid,), name="gpu-reader", daemon=True)
                self._reading, self._is_late = reading, False
                reading.start()
        reading.join(0 if self._is_late else READ_SECONDS)
        if reading.is_alive():
            self._is_late = True
            return {}
        return self._found

    def _note(self, uuid: str) -> None:
        self._found = {}  # First: an error must not leave the former figures.
        self._found = self._read(uuid)

    def _read(self, uuid: str) -> dict[str, float]:
        handle = self._handle(uuid)
        if handle is None:
            return {}
        memory, load, number, energy = _Memory(), _Utilization(), ctypes.c_uint(), ctypes.c_ulonglong()
        found: dict[str, float] = {}
        if self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory)):
            found |= {"memory_used_bytes": memory.used, "memory_total_bytes": memory.total}
        if self._call("nvmlDeviceGetUtilizationRates", handle, ctypes.byref(load)):
            found["utilization"] = load.gpu / 100
        if self._call("nvmlDeviceGetTemperature", handle, _TEMPERATURE_GPU, ctypes.byref(number)):
            found["temperature_celsius"] = number.value
        if self._call("nvmlDeviceGetPowerUsage", handle, ctypes.byref(number)):
            found["power_watts"] = number.value / 1000
        if self._call("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.byref(energy)):
            found["energy_joules"] = energy.value / 1000
        return found

    def _handle(self, uuid: str) -> ctypes.c_void_p | None:
        if uuid in self._handles:
            return self._handles[uuid]
        if self._failed or not self._open():
            return None
        handle = ctypes.c_void_p()
        # CUDA gives a part of a divided GPU (MIG) the id that this library writes with another beginning.
        names = (uuid, uuid.replace("GPU-", "MIG-", 1))
        if not any(self._call("nvmlDeviceGetHandleByUUID", name.encode(), ctypes.byref(handle)) for name in names):
            self._failed = True
            logger.info("the driver's library knows no GPU %s: its temperature and load are not reported", uuid)
            return None
        self._handles[uuid] = handle
        return handle

    def _open(self) -> bool:
        if self._library is None:
            try:
                self._library = self._load()
            except OSError:
                self._failed = True
                return False
            self._failed = not self._call("nvmlInit_v2")
        return not self._failed

    def _call(self, name: str, *arguments: Any) -> bool:  # noqa: ANN401 -- C values
        function = getattr(self._library, name, None)
        return function is not None and function(*arguments) == _SUCCESS
