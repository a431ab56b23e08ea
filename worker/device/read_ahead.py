"""Read the mapped weights of a component from disk while another one computes."""

from __future__ import annotations

import ctypes
import logging
import mmap
import sys
import threading
import time

import torch
from torch import nn

from worker.device.machine import GIGABYTE

log = logging.getLogger(__name__)
MADV_WILLNEED, MADV_POPULATE_READ = 3, 22
"""From Linux's mman.h. The second one also enters the pages into this process's tables; it exists since Linux 5.14."""
PIECE = 32 * 2**20
"""Bytes a call: the kernel is not asked for gigabytes at once, and the thread ends soon with the process."""


def read_ahead(module: nn.Module) -> int:
    """Ask the kernel for all weights of the module, in the order of its layers; return the bytes that it took.

    Returns after they are read. Weights that are in memory already cost next to nothing. Does nothing outside of Linux.
    """
    if sys.platform != "linux":
        return 0
    madvise, done = ctypes.CDLL(None, use_errno=True).madvise, 0
    for begin, end in _ranges(module):
        for at in range(begin, end, PIECE):
            size = min(PIECE, end - at)
            address = ctypes.c_void_p(at)
            if madvise(address, ctypes.c_size_t(size), MADV_POPULATE_READ) and madvise(
                address, ctypes.c_size_t(size), MADV_WILLNEED
            ):
                return done
            done += size
    return done


def _ranges(module: nn.Module) -> list[tuple[int, int]]:
    """Return the addresses of the weights, from the start of a page to the end of one."""
    page, found = mmap.PAGESIZE, []
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device.type == "cpu" and tensor.nbytes >= page:
            begin = tensor.data_ptr()
            found.append((begin // page * page, -(-(begin + tensor.nbytes) // page) * page))
    return found


def read_ahead_while(first: nn.Module, following: nn.Module) -> None:
    """Once `first` computes for the first time, read the weights of `following` on a thread of its own."""

    def start(_module: nn.Module, _inputs: object) -> None:
        hook.remove()
        threading.Thread(target=_run, args=(following,), name="read-ahead", daemon=True).start()

    hook = first.register_forward_pre_hook(start)


@torch.no_grad()
def _run(module: nn.Module) -> None:
    started = time.monotonic()
    size = read_ahead(module)
    log.info("read %.1f GB of weights ahead in %.1f s", size / GIGABYTE, time.monotonic() - started)
