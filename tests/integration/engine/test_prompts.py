"""Each prompt is encoded once, bit-identical to the stock pipeline."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel, tiny_model
from worker.pipelines.embedding_cache import EmbeddingCache
from worker.pipelines.family import FamilyContext, make_family
from worker.pipelines.z_image import text
from worker.pipelines.z_image.text import encode_caption

PROMPTS = ["", "a cat", "猫" * 100, "x" * 600]


@pytest.fixture
def demo(models_dir: Path) -> TinyModel:
    torch.set_num_threads(1)
    return tiny_model("demo", models_dir)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_padded_captions_are_bit_identical_to_the_pipelines(demo: TinyModel, prompt: str) -> None:
    with torch.no_grad():
        expected = demo.stock.encode_prompt([prompt], do_classifier_free_guidance=False)[0][0]
        assert torch.equal(encode_caption(demo.pipeline, prompt, torch.device("cpu")), expected)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_captions_of_exact_length_are_close(demo: TinyModel, prompt: str) -> None:
    with torch.no_grad():
        padded = encode_caption(demo.pipeline, prompt, torch.device("cpu"))
        exact = encode_caption(demo.pipeline, prompt, torch.device("cpu"), padded=False)
    assert exact.shape == padded.shape
    assert torch.allclose(exact, padded, atol=1e-5)


def test_large_text_encoders_on_a_cpu_pad_only_strict_requests(demo: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    usual, strict = a_request(0, "a cat"), a_request(1, "a cat").model_copy(update={"strict": True})
    monkeypatch.setattr(text, "EXACT_FROM_PARAMETERS", 1)
    family = make_family(FamilyContext(demo.pipeline, demo.model, cpu, cpu, demo.adapters))
    with torch.no_grad():
        padded, exact = (encode_caption(demo.pipeline, "a cat", cpu, padded=padded) for padded in (True, False))
        assert torch.equal(family.encode(usual).positive, exact)
        assert torch.equal(family.encode(strict).positive, padded)
        assert family.start(usual, family.encode(usual), b"").notes == {"captions": "exact length"}
        assert family.start(strict, family.encode(strict), b"").notes == {}
        monkeypatch.setattr(text, "EXACT_FROM_PARAMETERS", 10**9)
        assert family.start(usual, family.encode(usual), b"").notes == {}


class HostSyncs(TorchDispatchMode):
    """Record operations that make the host wait for the device: reading numbers, indexing by booleans."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's
        name = str(func)
        by_mask = "index" in name and any(
            isinstance(each, torch.Tensor) and each.dtype is torch.bool
            for argument in args
            if isinstance(argument, list | tuple)
            for each in argument
        )
        if by_mask or "_local_scalar_dense" in name or "nonzero" in name:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("padded", [True, False])
def test_encoding_and_stepping_cause_no_host_sync(demo: TinyModel, padded: bool) -> None:
    with torch.no_grad(), HostSyncs() as syncs:
        demo.pipeline.text_encoder(torch.ones(1, 4, dtype=torch.long), torch.tensor([[True, True, True, False]]))
        assert syncs.seen, "called as the stock pipeline does, the encoder reads the mask"
        syncs.seen.clear()
        encode_caption(demo.pipeline, "a cat", torch.device("cpu"), padded)
        assert not syncs.seen
        request = a_request(1, "a cat", steps=2)
        sample = demo.family.start(request, demo.family.encode(request), b"")
        demo.family.step([sample])
        assert not syncs.seen


def test_left_padding_is_handled_by_the_library(demo: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for pipeline in (demo.stock, demo.pipeline):
        monkeypatch.setattr(pipeline.tokenizer, "padding_side", "left")
    with torch.no_grad():
        expected = demo.stock.encode_prompt(["a cat"], do_classifier_free_guidance=False)[0][0]
        assert torch.equal(encode_caption(demo.pipeline, "a cat", torch.device("cpu")), expected)


def test_a_prompt_is_encoded_once(demo: TinyModel) -> None:
    calls: list[int] = []
    handle = demo.pipeline.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        for index in range(3):
            demo.family.encode(a_request(index, "new", guidance_scale=2.0, negative_prompt="new, too"))
    finally:
        handle.remove()
    assert sum(calls) == 2, "the prompt and the negative prompt"


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    made: list[int] = []

    def make(key: int) -> int:
        made.append(key)
        return key

    cache: EmbeddingCache[int] = EmbeddingCache(max_entries=2)
    for key in (1, 2, 1, 3, 1, 2):
        cache.get(key, partial(make, key))
    assert made == [1, 2, 3, 2]


def test_the_cache_is_limited_in_bytes() -> None:
    cache: EmbeddingCache[torch.Tensor] = EmbeddingCache(lambda caption: caption.nbytes, max_bytes=1000)
    for key in range(3):
        cache.get(key, lambda: torch.zeros(100))
    assert [cache.peek(key) is not None for key in range(3)] == [False, True, True]
    assert cache.get("huge", lambda: torch.zeros(1000)).nbytes == 4000
    assert cache.peek("huge") is None, "too large to be cached, but computed"
