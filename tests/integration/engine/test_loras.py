"""LoRA adapters by name: they change the image, do not affect the rest of the batch, and leave no trace."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

from core.errors import InvalidInput
from core.render import LoraRequest
from tests.integration.engine.lora_layouts import Layout, comfyui, kohya, peft
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel
from worker.models.libraries import denoiser_of
from worker.models.tiny_models.build import build_lora

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    # PEFT warns about a second adapter in one model, which these tests intend.
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),
]


@pytest.fixture(params=["demo", "tiny-sd"], scope="module")
def model_with_loras(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    torch.set_num_threads(1)
    made = TinyModel(request.param, tmp_path_factory.mktemp("lora"), "float32")
    made.loras.mkdir()
    for seed, name in enumerate(("ink", "v1.5 gold")):
        build_lora(made.stock, made.loras / name, seed).rename(made.loras / f"{name}.safetensors")
    return made


def with_lora(name: str, scale: float = 1.0) -> tuple[LoraRequest, ...]:
    return (LoraRequest(name=name, scale=scale),)


def test_an_adapter_is_bit_identical_to_the_stock_pipeline_with_it(model_with_loras: TinyModel) -> None:
    made = model_with_loras
    request = a_request(1, size=64, steps=2, loras=with_lora("ink", 0.7))
    made.stock.load_lora_weights(str(made.loras), weight_name="ink.safetensors", adapter_name="ink")
    made.stock.set_adapters(["ink"], adapter_weights=[0.7])
    try:
        expected = made.expected(request, "latent")
    finally:
        made.stock.unload_lora_weights()
    assert torch.equal(made.alone(request).latents[0], expected)
    assert not torch.equal(made.alone(a_request(1, size=64, steps=2)).latents[0], expected)


def test_adapters_leave_no_trace(model_with_loras: TinyModel) -> None:
    made = model_with_loras
    plain = a_request(2, size=64, steps=2)
    before = made.alone(plain).latents
    for name in ("ink", "v1.5 gold", "ink"):
        made.alone(a_request(3, size=64, steps=1, loras=with_lora(name)))
    assert torch.equal(made.alone(plain).latents, before)
    assert torch.equal(made.alone(plain).latents[0], made.expected(plain, "latent"))


def test_requests_with_other_adapters_never_share_a_pass(model_with_loras: TinyModel) -> None:
    requests = [a_request(index, size=64, loras=loras) for index, loras in enumerate(((), with_lora("ink")))]
    plain, inked = (model_with_loras.start(request) for request in requests)
    assert plain.group != inked.group


def test_interleaved_steps_do_not_mix_adapters(model_with_loras: TinyModel) -> None:
    made = model_with_loras
    requests = [
        a_request(index, size=64, steps=2, loras=loras)
        for index, loras in enumerate(((), with_lora("ink"), with_lora("v1.5 gold", 0.5)))
    ]
    expected = [made.alone(request).latents for request in requests]
    samples = [made.start(request) for request in requests]
    while running := [sample for sample in samples if sample.step < sample.steps]:
        for sample in running:
            made.family.step([sample])
    assert all(torch.equal(sample.latents, latents) for sample, latents in zip(samples, expected, strict=True))


def has_adapter_layers(made: TinyModel) -> bool:
    return any(isinstance(module, BaseTunerLayer) for module in denoiser_of(made.pipeline).modules())


def test_looking_up_a_prompt_leaves_the_active_adapters_as_they_are(model_with_loras: TinyModel) -> None:
    made = model_with_loras
    plain = a_request(1, size=64, steps=2)
    made.alone(plain)
    inked = made.start(a_request(2, size=64, steps=3, loras=with_lora("ink")))
    made.family.step([inked])
    unknown = a_request(3, "not cached", size=64)
    assert made.family.cached_conditioning(plain) is not None
    assert made.family.cached_conditioning(unknown) is None
    made.start(plain)
    made.family.step([inked])
    assert has_adapter_layers(made)
    made.family.prepare_adapters(unknown)
    assert not has_adapter_layers(made), "the text encoder must run without the adapter"
    made.family.step([inked])


def loads_of(made: TinyModel, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows with each adapter that is loaded from its file."""
    loads: list[object] = []
    load = made.pipeline.load_lora_weights

    def counted(*given: object, **options: object) -> None:
        loads.append(given)
        load(*given, **options)

    monkeypatch.setattr(made.pipeline, "load_lora_weights", counted)
    return loads


def test_loaded_adapters_are_activated_again_without_reading(
    model_with_loras: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model_with_loras
    plain = a_request(2, size=64, steps=2)
    both = (*with_lora("ink", 0.5), *with_lora("v1.5 gold", 0.8))
    expected = made.alone(plain).latents
    inked, golden, mixed = (
        made.alone(a_request(3, size=64, steps=2, loras=loras)).latents
        for loras in (with_lora("ink"), with_lora("v1.5 gold"), both)
    )
    loads = loads_of(made, monkeypatch)
    for loras, latents in ((with_lora("ink"), inked), (both, mixed), (with_lora("v1.5 gold"), golden)):
        assert torch.equal(made.alone(plain).latents, expected)
        assert not has_adapter_layers(made)
        assert torch.equal(made.alone(a_request(3, size=64, steps=2, loras=loras)).latents, latents)
    assert torch.equal(made.alone(plain).latents, expected)
    assert torch.equal(made.alone(plain).latents[0], made.expected(plain, "latent"))
    assert not loads
    assert not torch.equal(mixed, inked)


def test_the_adapter_that_was_not_used_for_longest_is_deleted(
    model_with_loras: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model_with_loras
    requests = {name: a_request(3, size=64, steps=1, loras=with_lora(name)) for name in ("ink", "v1.5 gold", "third")}
    third = made.loras / "third.safetensors"
    build_lora(made.stock, made.loras / "made", 7).rename(third)
    try:
        first = {name: made.alone(request).latents for name, request in requests.items()}
        size = next(iter(made.adapters._loaded.values())).bytes
        assert 0 < size < 10**6
        monkeypatch.setattr(made.adapters, "_max_bytes", 2 * size)
        made.alone(requests["ink"])
        made.alone(requests["third"])  # Now "v1.5 gold" is the oldest.
        loads = loads_of(made, monkeypatch)
        for name, count in (("third", 0), ("ink", 0), ("v1.5 gold", 1), ("ink", 1), ("third", 2)):
            assert torch.equal(made.alone(requests[name]).latents, first[name])
            assert len(loads) == count, name
            assert len(made.adapters._loaded) <= 2
        plain = a_request(2, size=64, steps=2)
        assert torch.equal(made.alone(plain).latents[0], made.expected(plain, "latent"))
    finally:
        third.unlink()


def test_a_changed_file_is_loaded_again(model_with_loras: TinyModel) -> None:
    made = model_with_loras
    file = made.loras / "changing.safetensors"
    request = a_request(3, size=64, steps=1, loras=with_lora("changing"))
    try:
        build_lora(made.stock, made.loras / "made", 8).rename(file)
        before = made.alone(request).latents
        build_lora(made.stock, made.loras / "made", 9, rank=3).rename(file)
        after = made.alone(request).latents
    finally:
        file.unlink()
    assert not torch.equal(before, after)


@pytest.mark.parametrize("layout", [kohya, comfyui, peft])
def test_every_published_layout_gives_the_same_image(model_with_loras: TinyModel, layout: Layout) -> None:
    made = model_with_loras
    if layout is comfyui and made.model.family != "z-image":
        pytest.skip("ComfyUI's prefix is not used for Stable Diffusion")
    folder = made.loras / "layouts"
    folder.mkdir()
    expected = made.alone(a_request(3, size=64, steps=2, loras=with_lora("ink", 0.7))).latents
    try:
        layout(made.loras / "ink.safetensors", folder / "other.safetensors")
        sample = made.alone(a_request(3, size=64, steps=2, loras=with_lora("other", 0.7)))
        assert made.adapters.warnings(sample.request.loras) == ()
        torch.testing.assert_close(sample.latents, expected, rtol=0, atol=1e-5)
        assert not torch.equal(sample.latents, made.alone(a_request(3, size=64, steps=2)).latents)
    finally:
        shutil.rmtree(folder)


def test_the_hash_is_that_of_the_tensors(model_with_loras: TinyModel) -> None:
    made = model_with_loras
    made.alone(a_request(3, size=64, steps=1, loras=with_lora("ink")))
    data = (made.loras / "ink.safetensors").read_bytes()
    tensors = data[8 + int.from_bytes(data[:8], "little") :]
    assert made.adapters.hashes(with_lora("ink")) == {"ink": hashlib.sha256(tensors).hexdigest()[:12]}


def test_equal_sets_of_adapters_may_share_a_pass(model_with_loras: TinyModel) -> None:
    loras = (*with_lora("ink", 0.5), *with_lora("v1.5 gold"))
    same = [model_with_loras.start(a_request(index, size=64, loras=loras)).group for index in range(2)]
    assert same[0] == same[1]
    other = model_with_loras.start(a_request(2, size=64, loras=(*with_lora("ink", 0.6), *with_lora("v1.5 gold"))))
    assert other.group != same[0]


def test_a_file_that_is_no_adapter_is_refused_and_leaves_no_trace(model_with_loras: TinyModel) -> None:
    made = model_with_loras
    plain = a_request(2, size=64, steps=2)
    before = made.alone(plain).latents
    broken = made.loras / "broken.safetensors"
    broken.write_bytes(b"this is no tensor")
    try:
        with pytest.raises(InvalidInput, match="'broken' cannot be used"):
            made.start(a_request(0, size=64, loras=with_lora("broken")))
    finally:
        broken.unlink()
    assert torch.equal(made.alone(plain).latents, before)


def renamed(file: Path, change: Callable[[str], str]) -> None:
    """Rename the tensors of a LoRA."""
    save_file({change(name): tensor for name, tensor in load_file(file).items()}, file)


@pytest.fixture
def foreign(model_with_loras: TinyModel) -> Iterator[Path]:
    """Provide a copy of `ink` to change; remove it at the end."""
    file = model_with_loras.loras / "foreign.safetensors"
    shutil.copyfile(model_with_loras.loras / "ink.safetensors", file)
    yield file
    file.unlink()


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.replace("transformer.", "other.", 1).replace("unet.", "other.", 1),
        lambda name: name.replace(".to_", ".other_"),
        lambda name: "text_encoder_9." + name,
    ],
)
def test_an_adapter_of_another_model_is_refused_and_leaves_no_trace(
    model_with_loras: TinyModel, foreign: Path, change: Callable[[str], str]
) -> None:
    made = model_with_loras
    plain = a_request(2, size=64, steps=2)
    before = made.alone(plain).latents
    renamed(foreign, change)
    with pytest.raises(InvalidInput, match="'foreign' cannot be used with this model") as caught:
        made.start(a_request(0, size=64, loras=with_lora("foreign")))
    assert caught.value.field == "loras"
    assert torch.equal(made.alone(plain).latents, before)


def test_an_adapter_with_no_lora_in_it_is_refused(model_with_loras: TinyModel, foreign: Path) -> None:
    save_file({"conditioner.weight": torch.zeros(2, 2)}, foreign)
    with pytest.raises(InvalidInput, match="holds no LoRA layers"):
        model_with_loras.start(a_request(0, size=64, loras=with_lora("foreign")))


def test_an_adapter_that_fits_in_part_is_used_with_a_warning_that_counts(
    model_with_loras: TinyModel, foreign: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = model_with_loras
    adapters = made.adapters
    made.alone(a_request(3, size=64, steps=1, loras=with_lora("ink")))
    assert adapters.warnings(with_lora("ink")) == ()
    layers = {name.rpartition(".lora")[0] for name in load_file(foreign)}
    renamed(foreign, lambda name: name.replace(".to_q.", ".other_q."))
    made.alone(a_request(3, size=64, steps=1, loras=with_lora("foreign")))
    (warning,) = adapters.warnings(with_lora("foreign"))
    assert f"{len(layers) * 2 // 3} of its {len(layers)} layers" in warning
    assert warning in caplog.messages


@pytest.mark.parametrize("name", ["nonsense", "../lora/ink", "ink.safetensors", ""])
def test_an_unknown_adapter_is_refused(model_with_loras: TinyModel, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"Available for [a-z-]+: ink, v1\.5 gold\.$") as caught:
        model_with_loras.start(a_request(0, size=64, loras=with_lora(name)))
    assert caught.value.code == "unknown_lora"
    assert Path(model_with_loras.loras / "ink.safetensors").exists()
