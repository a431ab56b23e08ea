"""Classification of exceptions: codes, out of memory, broken devices."""

from __future__ import annotations

import weakref

import pytest
import torch

from core.errors import InvalidInput, RenderError
from worker.device.faults import BrokenDevice, code_and_message, is_broken_device, release_tensors


def cpu_out_of_memory() -> BaseException:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out_of_memory"),
        (InvalidInput("no", field="width"), "invalid_input"),
        (InvalidInput("no", code="unknown_model"), "invalid_input"),
        (RenderError("nan", code="non_finite_latents"), "non_finite_latents"),
        (ValueError("?"), "render_failed"),
        (KeyboardInterrupt(), "render_failed"),
    ],
)
def test_codes(error: BaseException, code: str) -> None:
    assert code_and_message(error)[0] == code


def test_exhausted_host_memory_is_recognised() -> None:
    assert code_and_message(cpu_out_of_memory())[0] == "out_of_memory"


@pytest.mark.parametrize(
    ("error", "broken"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA driver error: unspecified launch failure"), True),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), False),
        (BrokenDevice(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), False),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (ValueError("CUDA error in a prompt"), False),
    ],
)
def test_a_broken_device_is_recognised(error: BaseException, broken: bool) -> None:
    assert is_broken_device(error) is broken


@pytest.mark.parametrize(("held", "broken"), [([0, 512], False), ([0, 0], True)])
def test_an_error_on_a_working_gpu_does_not_count_as_broken(
    held: list[int], broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronized: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(held))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: held[index])
    monkeypatch.setattr(torch.cuda, "synchronize", synchronized.append)
    error = RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmulAlgoGetHeuristic(...)`")
    assert is_broken_device(error) is broken
    assert synchronized == ([] if broken else [1]), "only GPUs that this process uses are synchronized"


def test_a_gpu_that_fails_to_synchronize_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_index: int) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 512)
    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    assert is_broken_device(RuntimeError("CUDA error: no kernel image is available for execution on the device"))


def test_tensors_behind_an_error_without_a_traceback_are_released() -> None:
    def fail(held: torch.Tensor) -> None:
        raise torch.OutOfMemoryError(f"{held.nbytes} bytes")

    activations = torch.ones(1)
    reference = weakref.ref(activations)
    try:
        fail(activations)
    except RuntimeError as raised:
        first: BaseException = raised
    del activations
    middle, last = ValueError("shortened"), RuntimeError("wrapped")
    last.__cause__, middle.__cause__ = middle, first
    first.__cause__ = last
    release_tensors(last)
    assert reference() is None
