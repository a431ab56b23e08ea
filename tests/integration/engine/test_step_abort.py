"""An aborted step leaves no trace: the next request is bit-identical to the stock pipeline."""

from __future__ import annotations

import pytest
import torch

from core.render import LoraRequest
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel
from worker.engine.stepping import StepAborted, StepAborter, repeated_blocks, step_isolated
from worker.models.libraries import denoiser_of
from worker.models.tiny_models.build import build_lora

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
INK = (LoraRequest(name="ink", scale=0.7),)


class Blocks:
    """Counts the blocks of a step, and cancels all requests at block number `end`."""

    def __init__(self, tiny_model: TinyModel) -> None:
        self.passed, self.end = 0, 10**9
        self.aborter = StepAborter(repeated_blocks(denoiser_of(tiny_model.pipeline)), self._all_canceled)

    def _all_canceled(self, _request_ids: list[str]) -> bool:
        self.passed += 1
        return self.passed >= self.end


@pytest.fixture(params=["demo", "tiny-sd"], scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Return a model that is not shared, since the tests modify it."""
    torch.set_num_threads(1)
    tiny_model = TinyModel(request.param, tmp_path_factory.mktemp("abort"), "float32")
    tiny_model.loras.mkdir()
    build_lora(tiny_model.stock, tiny_model.loras / "made", 1).rename(tiny_model.loras / "ink.safetensors")
    return tiny_model


def test_the_request_after_an_aborted_step_is_bit_identical(made: TinyModel) -> None:
    blocks = Blocks(made)
    plain = a_request(9, "a dog", 64, 2, guidance_scale=3.0, negative_prompt="a cat " * 30)
    inked = made.alone(a_request(8, "a dog", 64, 2, loras=INK)).latents
    expected = made.expected(plain, "latent")
    aborted = [made.start(a_request(index, "a cat", 64, 2, loras=INK, guidance_scale=3.0)) for index in range(2)]
    with blocks.aborter.when_canceled(["0", "1"]):
        step_isolated(made.family, aborted)
    in_a_step = blocks.passed
    assert in_a_step > 1
    for end in range(1, in_a_step + 1):
        blocks.passed, blocks.end = 0, end
        fresh = [made.start(a_request(index, "a cat", 64, 2, loras=INK, guidance_scale=3.0)) for index in range(2)]
        with pytest.raises(StepAborted), blocks.aborter.when_canceled(["0", "1"]):
            step_isolated(made.family, fresh)
        assert [sample.step for sample in fresh] == [0, 0]
        assert torch.equal(made.alone(plain).latents[0], expected), "outside of an abortable step nothing is checked"
    assert torch.equal(made.alone(a_request(8, "a dog", 64, 2, loras=INK)).latents, inked)


def test_samples_tried_alone_after_a_pass_that_did_not_fit_are_bit_identical(made: TinyModel) -> None:
    """The pass fails in its last block, after the step has computed state for each sample."""
    requests = [a_request(index, "a cat", 64, 2, guidance_scale=3.0, negative_prompt="a dog") for index in range(2)]
    samples = [made.start(request) for request in requests]
    last = repeated_blocks(denoiser_of(made.pipeline))[-1]

    def run_out_of_memory(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = last.register_forward_pre_hook(run_out_of_memory)
    try:
        while samples[0].step < samples[0].steps:
            assert step_isolated(made.family, samples).passes == dict.fromkeys(samples, 1)
    finally:
        hook.remove()
    for request, sample in zip(requests, samples, strict=True):
        assert torch.equal(sample.latents[0], made.expected(request, "latent"))
