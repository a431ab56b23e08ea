"""Networks against outputs of other implementations: ncnn for the packaged weights, spandrel for other files."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core.catalogue.upscalers import Upscaler, list_upscalers
from core.errors import InvalidInput, RenderError
from worker.pipelines.upscalers.network import load_network, network_of

DATA = Path(__file__).parents[2] / "data" / "upscalers"
PACKAGED = ("realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3")
OTHERS = {
    "swinir-classical-x4": 4,
    "swinir-classical-x3": 3,
    "swinir-lightweight-x2": 2,
    "swinir-real-x4": 4,
    "esrgan-old-x4": 4,
    "esrgan-old-x2": 2,
    "esrgan-folded-x2": 2,
    "compact-x2": 2,
}


def random_weights(name: str) -> dict[str, torch.Tensor]:
    """Return the weights that the stored output of this network was made with."""
    shapes = json.loads((DATA / "shapes.json").read_text())[name]
    generator = torch.Generator().manual_seed(7)
    return {key: torch.randn(shapes[key], generator=generator) * 0.1 for key in sorted(shapes)}


def of_file(file: Path) -> Upscaler:
    return list_upscalers([file.parent]).get(file.stem)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_weights_equal_ncnn(name: str) -> None:
    stored = np.load(DATA / "ncnn_outputs.npz")
    pixels = torch.from_numpy(stored["input"]).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        enlarged = load_network(list_upscalers([]).get(name))(pixels)[0].numpy()
    assert np.abs(enlarged - stored[name]).max() < 1e-4
    assert np.abs(enlarged[::-1] - stored[name]).max() > 0.1, "the reference must tell RGB from BGR"


@pytest.mark.parametrize(("name", "scale"), OTHERS.items())
def test_other_weights_equal_spandrel(name: str, scale: int, tmp_path: Path) -> None:
    stored = np.load(DATA / "spandrel_outputs.npz")
    file = tmp_path / f"{name}.safetensors"
    save_file(random_weights(name), file)
    network = load_network(of_file(file))
    with torch.inference_mode():
        enlarged = network(torch.from_numpy(stored["input"]))[0].numpy()
    assert network.scale == scale
    assert np.abs(enlarged - stored[name]).max() < 1e-4


@pytest.mark.parametrize("wrapper", [None, "params", "params_ema"])
def test_pickled_tensors_load(wrapper: str | None, tmp_path: Path) -> None:
    weights: dict[str, Any] = random_weights("compact-x2")
    torch.save({wrapper: weights} if wrapper else weights, tmp_path / "compact.pth")
    assert load_network(of_file(tmp_path / "compact.pth")).scale == 2


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def test_pickled_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"params": _Code()}))
    with pytest.raises(RenderError, match=r"code\.pth cannot be read"):
        load_network(of_file(tmp_path / "code.pth"))
    assert not (tmp_path / "executed").exists()


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    save_file({"transformer.layer.weight": torch.zeros(2)}, tmp_path / "language.safetensors")
    with pytest.raises(RenderError, match=r"language\.safetensors holds no upscaler that is supported"):
        load_network(of_file(tmp_path / "language.safetensors"))


def test_missing_and_infinite_tensors_are_errors() -> None:
    weights = random_weights("esrgan-old-x4")
    del weights["model.10.bias"]
    with pytest.raises(RenderError, match=r"conv_last\.bias"):
        network_of(weights, "a file")
    weights = random_weights("compact-x2")
    weights["body.0.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(RenderError, match=r"body\.0\.weight holds a number that is not finite"):
        network_of(weights, "a file")


def test_damaged_packaged_weights_are_named(tmp_path: Path) -> None:
    packaged = list_upscalers([]).get("realesr-animevideov3")
    assert packaged.weights is not None
    data = bytearray(packaged.weights.read_bytes())
    data[5000] ^= 1
    (tmp_path / "damaged.bin").write_bytes(data)
    with pytest.raises(RenderError, match=r"damaged\.bin is damaged"):
        load_network(packaged.model_copy(update={"weights": tmp_path / "damaged.bin"}))
    (tmp_path / "short.bin").write_bytes(data[:-10])
    with pytest.raises(RenderError, match=r"short\.bin cannot be read.*it ends at byte"):
        load_network(packaged.model_copy(update={"weights": tmp_path / "short.bin", "sha256": ""}))
    with pytest.raises(RenderError, match="are not on this machine"):
        load_network(packaged.model_copy(update={"weights": tmp_path / "absent.bin"}))


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"no upscaler called 'x'.*realesrgan-x4plus.*lanczos"):
        list_upscalers([]).get("x")
