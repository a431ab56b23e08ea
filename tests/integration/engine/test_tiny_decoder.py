"""A tiny decoder in place of the VAE: found in every layout, recorded, never used for strict requests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

from core.catalogue import load_catalogue
from core.errors import RenderError
from tests.integration.engine.conftest import StartEngine
from tests.integration.engine.recorder import a_request
from worker.engine.messages import Rendered
from worker.models.tiny_decoder import FOLDER, load_tiny_decoder

CPU = torch.device("cpu")
Z_IMAGE, SD_TURBO = (load_catalogue().get(name) for name in ("z-image-turbo", "sd-turbo"))


def a_tiny_vae(channels: int = 16) -> AutoencoderTiny:
    torch.manual_seed(0)
    widths = (8, 8, 8, 8)
    return AutoencoderTiny(
        latent_channels=channels, encoder_block_out_channels=widths, decoder_block_out_channels=widths
    ).eval()


def write(folder: Path, layout: str, vae: AutoencoderTiny, name: str = "taef1") -> None:
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    path = folder / FOLDER / name
    if layout == "folder":
        vae.save_pretrained(path)
    elif layout == "diffusers":
        save_file({key: tensor.contiguous() for key, tensor in vae.state_dict().items()}, f"{path}.safetensors")
    else:
        tensors = {}
        for key, tensor in vae.decoder.state_dict().items():
            _, number, rest = key.split(".", 2)
            tensors[f"{int(number) + 1}.{rest}"] = tensor.contiguous()
        save_file(tensors, f"{path}_decoder.safetensors")


@pytest.mark.parametrize("layout", ["folder", "diffusers", "original"])
@torch.no_grad()
def test_every_layout_decodes_as_diffusers_does(layout: str, tmp_path: Path) -> None:
    vae = a_tiny_vae()
    write(tmp_path / "weights", layout, vae)
    tiny = load_tiny_decoder(Z_IMAGE, 16, [tmp_path / "none", tmp_path / "weights"], CPU, torch.float32)
    latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    assert tiny.name == "taef1"
    assert torch.equal(tiny.decode(latents), vae.decode(latents, return_dict=False)[0])


def test_a_decoder_that_is_missing_damaged_or_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=r"There is no taesd\.safetensors") as caught:
        load_tiny_decoder(SD_TURBO, 4, [tmp_path], CPU, torch.float32)
    assert caught.value.code == "model_unavailable" and "IMAGEFARM_TINY_DECODER" in caught.value.message
    write(tmp_path, "diffusers", a_tiny_vae(16), "taesd")
    with pytest.raises(RenderError, match="decodes 16 channels; the latents of sd-turbo have 4"):
        load_tiny_decoder(SD_TURBO, 4, [tmp_path], CPU, torch.float32)
    (tmp_path / FOLDER / "taesd.safetensors").write_bytes(b"no weights")
    with pytest.raises(RenderError, match="not a tiny decoder that can be read"):
        load_tiny_decoder(SD_TURBO, 4, [tmp_path], CPU, torch.float32)
    with pytest.raises(RenderError, match="no tiny decoder for flux2-klein-4b"):
        load_tiny_decoder(load_catalogue().get("flux2-klein-4b"), 32, [tmp_path], CPU, torch.float32)


def test_an_engine_decodes_with_it_and_records_it_except_for_strict(start_engine: StartEngine, tmp_path: Path) -> None:
    write(tmp_path, "original", a_tiny_vae())
    client, recorder = start_engine(tiny_decoder=True, weights_dirs=(tmp_path,))
    recorder.wait_ready()
    client.submit(a_request(0, "a cat"))
    client.submit(a_request(1, "a cat").model_copy(update={"strict": True}))
    usual, strict = (recorder.wait_end(f"job/1/{index}") for index in (0, 1))
    assert isinstance(usual, Rendered) and isinstance(strict, Rendered)
    assert usual.record.versions["decoder"] == "taef1" and "decoder" not in strict.record.versions
    assert (usual.width, usual.height) == (strict.width, strict.height) and usual.pixels != strict.pixels
