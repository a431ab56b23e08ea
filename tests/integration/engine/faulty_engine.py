"""The real engine with faults that prompts ask for: `python -m tests.integration.engine.faulty_engine FD`.

Words of a prompt cause faults. `hang`, `exit`, `segfault`, `crash`, `sticky`, `oom`, `oom-in-batch`, `crash-in-batch`,
`nan`, `quit`, `slow`, `long`, `spin`, `heavy`, `weighty`, and on a GPU `device-assert`, break or delay the request's step;
`gated`, `encode-hang`, `encode-crash` and `where` its encoding; `decode-gated` and `decode-hang` its decoding.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from core.render import RenderRequest
from worker.engine.process import main
from worker.engine.spec import EngineSpec

if TYPE_CHECKING:
    from worker.engine.builder import OnProgress
    from worker.engine.parts import EngineParts
    from worker.pipelines.family import AnyFamily


class Faulty:
    """A family that causes the faults that its prompts name."""

    def __init__(self, family: AnyFamily) -> None:
        self._family = family
        self._block_seconds = 0.0

    def delay_block(self, *_: object) -> None:
        """Delay a block of a step."""
        time.sleep(self._block_seconds)

    def __getattr__(self, name: str) -> object:
        return getattr(self._family, name)

    def encode(self, request: RenderRequest) -> object:
        words = request.prompt.split()
        if "gated" in words:
            _wait_at_gate(request)
        if "encode-hang" in words:
            threading.Event().wait()
        if "encode-crash" in words:
            raise ValueError("planted")
        if "where" in words:
            raise RuntimeError(f"encoded by {threading.current_thread().name}")
        return self._family.encode(request)

    def decode(self, sample: Any) -> object:  # noqa: ANN401 - the family's
        words = sample.request.prompt.split()
        if "decode-gated" in words:
            _wait_at_gate(sample.request)
        if "decode-hang" in words:
            threading.Event().wait()
        return self._family.decode(sample)

    def step(self, samples: Sequence[Any]) -> None:
        words = {word for sample in samples for word in sample.request.prompt.split()}
        self._block_seconds = 1.0 if "heavy" in words else 1.5 if "weighty" in words else 0.0
        self._cause_fault(words, len(samples))
        self._family.step(samples)
        for sample in samples:
            if "nan" in sample.request.prompt.split():
                sample.latents[0, 0, 0, 0] = float("nan")

    def _cause_fault(self, words: set[str], images: int) -> None:
        if "slow" in words:
            time.sleep(0.05)
        if "hang" in words:
            threading.Event().wait()
        if "long" in words:
            _compute(seconds=5.5)
        if "spin" in words:
            _compute(seconds=float("inf"))
        if "exit" in words:
            os._exit(3)
        if "segfault" in words:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "sticky" in words:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if "device-assert" in words:
            _break_device()
        if "crash" in words or ("crash-in-batch" in words and images > 1):
            raise ValueError("planted")
        if "oom" in words or ("oom-in-batch" in words and images > 1):
            raise MemoryError("planted")
        if "quit" in words:
            raise SystemExit("planted")


def _break_device() -> None:
    """Index out of range, which stops the kernel: from then on every CUDA call of this process fails."""
    import torch

    beyond = torch.full((1,), 9, device="cuda")
    torch.zeros(1, device="cuda")[beyond].cpu()


def _compute(seconds: float) -> None:
    """Keep a core busy; `seconds` may exceed the step timeout."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def _wait_at_gate(request: RenderRequest) -> None:
    """Block until the test has opened and closed the other end of the request's named pipe."""
    (Path(os.environ["TEST_GATES"]) / request.id.replace("/", "-")).read_bytes()


class AdmitOneAtATime:
    """Treat each request as too large to be rendered next to another."""

    def admits(self, request: RenderRequest, others: Sequence[RenderRequest]) -> bool:
        return False


def open_faulty(spec: EngineSpec, on_progress: OnProgress) -> EngineParts:
    if spec.memory_policy == "never":
        threading.Event().wait()
    if spec.memory_policy == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    from worker.engine.builder import build_engine

    opened = build_engine(spec, on_progress)
    faulty = Faulty(opened.family)
    for block in opened.blocks:
        block.register_forward_pre_hook(faulty.delay_block)
    return dataclasses.replace(
        opened,
        family=cast("AnyFamily", faulty),
        overlaps_decode=os.environ.get("TEST_OVERLAPS_DECODE") == "1",
        admission=AdmitOneAtATime() if os.environ.get("TEST_ADMIT_ONE") == "1" else opened.admission,
        overlaps_encode=os.environ.get("TEST_OVERLAPS_ENCODE") == "1",
    )


if __name__ == "__main__":
    os._exit(main(sys.argv[1:], open_faulty))
