"""Compiled blocks under all kinds of requests: no mix runs out of graphs, and adapters need none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from core.render import LoraRequest, RenderRequest
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel
from tests.integration.tuning.conftest import warmup_of
from worker.models.tiny_models.build import build_lora
from worker.pipelines.tuning.compiling import compile_and_try
from worker.pipelines.tuning.warmup import warm_up

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),
]
SHORT = "a lighthouse at dusk"
MIDDLE, LONG = (" and ".join([SHORT] * count) for count in (8, 20))


class Compiled:
    """A tiny model whose blocks are traced as by torch.compile, but not translated; counts the graphs and their runs."""

    def __init__(self, tiny_model: TinyModel) -> None:
        self.tiny_model = tiny_model
        self.graphs = self.runs = 0
        cls = type(tiny_model.pipeline.transformer)
        original = cls.compile_repeated_blocks
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cls, "compile_repeated_blocks", lambda model, **_: original(model, fullgraph=True, backend=self))
            assert compile_and_try(tiny_model.pipeline, "default", lambda: None) == "true"

    def __call__(self, graph: Any, _inputs: object) -> Callable[..., Any]:  # noqa: ANN401 - a graph of torch.fx
        self.graphs += 1

        def run(*arguments: object) -> Any:  # noqa: ANN401 - what the graph returns
            self.runs += 1
            return graph.forward(*arguments)

        return run

    def step(self, *requests: RenderRequest) -> int:
        """Run one step of all requests in one pass; return how many graphs it needed."""
        before = self.graphs
        self.tiny_model.family.step([self.tiny_model.start(request) for request in requests])
        return self.graphs - before


@pytest.fixture(scope="module")
def compiled(directory: Path) -> Iterator[Compiled]:
    """Return one model for all tests but the last, since each graph takes more than a second."""
    with fresh(TinyModel("z-image-turbo", directory, "float32")) as made:
        yield made


@contextmanager
def fresh(tiny_model: TinyModel) -> Iterator[Compiled]:
    """Compile a model's blocks; there are no graphs before and after."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=8):
        yield Compiled(tiny_model)
    torch.compiler.set_stance("default")
    torch._dynamo.reset()


def as_on_a_gpu(_transformer: object, positions: torch.Tensor, uncompiled: bool) -> torch.Tensor:
    """Return positions as real numbers."""
    return positions if uncompiled else torch.view_as_real(positions).contiguous()


def ask(index: int, prompt: str, size: int, negative: str = "", loras: tuple[LoraRequest, ...] = ()) -> RenderRequest:
    """Return a request, with guidance if there is a negative prompt."""
    guidance = 3.0 if negative else 1.0
    return a_request(index, prompt, size, negative_prompt=negative, guidance_scale=guidance, loras=loras)


def test_no_mix_of_requests_runs_out_of_graphs(compiled: Compiled) -> None:
    for size in (128, 64):
        compiled.step(ask(0, SHORT, size))
        compiled.step(ask(0, SHORT, size), ask(1, SHORT, size))
    for prompt in (LONG, MIDDLE):
        compiled.step(ask(0, prompt, 64))
        compiled.step(ask(0, prompt, 64, negative=SHORT))
        compiled.step(ask(0, prompt, 64, negative=SHORT), ask(1, prompt, 64, negative=SHORT))
    compiled.step(ask(0, SHORT, 128), ask(1, LONG, 64))
    assert compiled.graphs > 8, "the requests exceed torch's own limit"
    assert compiled.step(ask(0, MIDDLE, 96), ask(1, LONG, 192), ask(2, SHORT, 80)) == 0, "one graph serves any size"


def test_strict_requests_are_uncompiled_and_exact(compiled: Compiled) -> None:
    request = a_request(0, SHORT, 64, 3, strict=True)
    before = compiled.runs
    assert torch.equal(compiled.tiny_model.alone(request).latents[0], compiled.tiny_model.expected(request, "latent"))
    assert compiled.runs == before
    compiled.step(ask(0, SHORT, 64))
    assert compiled.runs > before, "other requests are compiled"


def test_requests_with_adapters_are_uncompiled(compiled: Compiled) -> None:
    tiny_model = compiled.tiny_model
    tiny_model.loras.mkdir(exist_ok=True)
    for seed, name in enumerate(("ink", "gold")):
        build_lora(tiny_model.stock, tiny_model.loras / name, seed).rename(tiny_model.loras / f"{name}.safetensors")
    compiled.step(ask(0, SHORT, 64))
    before = compiled.runs
    for name, scale in (("ink", 1.0), ("ink", 0.5), ("gold", 1.0)):
        assert compiled.step(ask(1, SHORT, 64, loras=(LoraRequest(name=name, scale=scale),))) == 0
    assert compiled.runs == before
    assert compiled.step(ask(0, SHORT, 64)) == 0, "requests without adapters stay compiled"
    assert compiled.runs > before


def test_after_the_warm_up_no_request_waits_for_a_graph(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh(TinyModel("z-image-turbo", directory, "float32")) as compiled:
        monkeypatch.setattr(type(compiled.tiny_model.pipeline.transformer), "_for_blocks", as_on_a_gpu)
        # Nothing of it is compiled, and large images take long.
        monkeypatch.setattr(compiled.tiny_model.family, "decode", lambda sample: sample.latents)
        warm_up(warmup_of(compiled.tiny_model), lambda *_: None)
        for words in ((3, 1), (1, 14), (14, 3), (3, 3)):
            prompt, negative = (" and ".join([SHORT] * count) for count in words)
            for other in ("", negative):
                assert compiled.step(ask(0, prompt, 96, negative=other)) == 0, (prompt, other)
                assert compiled.step(*(ask(index, prompt, 64, negative=other) for index in range(2))) == 0, (prompt, other)
