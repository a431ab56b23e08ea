"""Names of files in graphs stand for models: those of weights folders first, else those of ComfyUI's templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.catalogue import CatalogueModel, FarmCatalogue
from core.catalogue.upscalers import list_upscalers
from core.catalogue.user_file import UserRows
from core.catalogue.user_rows import make_row
from core.catalogue.weight_dirs import FOLDERS, Scan
from core.comfyui import ModelFiles
from core.comfyui.names import name_in_folder, network_scale

FOLDER = Path("/weights/models")
TEMPLATE = "z_image_turbo_bf16.safetensors"


def files(accepted: set[str]) -> ModelFiles:
    parts = {
        "transformer": f"diffusion_models/{TEMPLATE}",
        "text_encoder": "clip/own/q.safetensors",
        "vae": "vae/ae.safetensors",
    }
    rows = (
        make_row({"id": "split", "base": "z-image-turbo", "files": parts}, FOLDER),
        make_row(
            {"id": "whole", "base": "sd15", "files": dict.fromkeys(("unet", "text_encoder", "vae"), "checkpoints/a/b.ckpt")},
            FOLDER,
        ),
    )
    catalogue = FarmCatalogue(UserRows(rows), Scan(dict.fromkeys(FOLDERS, ())))

    def is_accepted(model: CatalogueModel) -> bool:
        return model.id in accepted

    return ModelFiles(catalogue, is_accepted, upscalers=list_upscalers([]))


def test_a_file_of_a_weights_folder_wins_over_a_templates_name() -> None:
    known = files({"split", "z-image-turbo", "whole"})
    assert known.model("diffusion_models", TEMPLATE).id == "split"
    assert known.model("checkpoints", "a\\b.ckpt").id == "whole"
    assert known.lists["text_encoders"] == ("own/q.safetensors", "qwen_3_4b.safetensors")
    assert known.is_part(known.model("diffusion_models", TEMPLATE), "own/q.safetensors")
    assert not known.is_part(known.model("diffusion_models", TEMPLATE), "qwen_3_4b.safetensors")


def test_only_models_that_are_accepted_are_listed_and_each_by_its_id() -> None:
    known = files({"z-image-turbo"})
    assert (known.lists["diffusion_models"], known.lists["checkpoints"]) == ((TEMPLATE,), ("z-image-turbo.safetensors",))
    assert known.model("diffusion_models", TEMPLATE).id == "z-image-turbo"
    assert files(set()).lists["vae"] == ()


def test_upscalers_go_by_their_authors_names() -> None:
    known = files(set())
    assert known.upscaler_id("RealESRGAN_x4plus.pth") == "realesrgan-x4plus"
    assert "lanczos.pth" not in known.lists["upscale_models"]


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("RealESRGAN_x4plus.pth", 4),
        ("4x-UltraSharp.pth", 4),
        ("2x_sharp.pth", 2),
        ("net_x2.pth", 2),
        ("swin.pth", 4),
        ("x16.pth", 4),
    ],
)
def test_a_networks_factor_is_in_its_name(name: str, scale: int) -> None:
    assert network_scale(name) == scale


def test_names_are_paths_below_the_folder_of_their_kind() -> None:
    assert name_in_folder(FOLDER / "checkpoints" / "sdxl" / "x.safetensors") == "sdxl/x.safetensors"
    assert name_in_folder(Path("/elsewhere/x.safetensors")) == "x.safetensors"
