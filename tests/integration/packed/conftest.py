"""A Z-Image whose matrices hold whole blocks of every GGUF type, and the family over packed components."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model

from core.catalogue import load_catalogue
from core.catalogue.loras import LoraLibrary
from core.render import RenderRequest
from tests.integration.engine.recorder import a_request
from tests.integration.packed.published_files import State
from worker.models.components import assemble, load_component
from worker.models.tiny_models.z_image import tiny_z_image
from worker.pipelines.adapters import Adapters
from worker.pipelines.family import FamilyContext, make_family

WIDTH = 768
"""The narrowest for which the feed-forward's rows, too, hold whole blocks of 256."""
TEXT_WIDTH = 256
CPU = torch.device("cpu")
OTHERS = ("text_encoder", "vae")
"""The components beside the transformer."""
REQUEST = a_request(3, "a cat 猫", 64, 1)


@dataclass(frozen=True, eq=False)
class Whole:
    """A folder in diffusers' layout with its transformer's and text encoder's weights, which files are written from."""

    folder: Path
    transformer: State
    text_encoder: State


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute sums in the same order on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Build it, in bf16. Tests must not write there."""
    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    pipeline = tiny_z_image()
    pipeline.transformer = _transformer()
    pipeline.text_encoder = _text_encoder(len(pipeline.tokenizer))
    pipeline.to(torch.bfloat16).save_pretrained(str(folder))
    states = (dict(getattr(pipeline, name).state_dict()) for name in ("transformer", "text_encoder"))
    return Whole(folder, *states)


def _transformer() -> ZImageTransformer2DModel:
    made = ZImageTransformer2DModel(
        dim=WIDTH,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=WIDTH // 128,
        n_kv_heads=WIDTH // 128,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[32, 48, 48],
        axes_lens=[1536, 512, 512],
    )
    for name, parameter in made.named_parameters():
        if name.endswith("pad_token"):
            torch.nn.init.normal_(parameter, std=0.02)
    return made.eval()


def _text_encoder(tokens: int) -> Qwen3Model:
    config = Qwen3Config(
        vocab_size=tokens,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=128,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    return Qwen3Model(config).eval()


def component(whole: Whole, name: str, dtype: torch.dtype) -> Any:  # noqa: ANN401 - a model of a library
    """Load one component of the folder, unpacked."""
    cls = {"transformer": ("diffusers", "ZImageTransformer2DModel"), "text_encoder": ("transformers", "Qwen3Model")}
    return load_component(whole.folder / name, *cls.get(name, ("diffusers", "AutoencoderKL")), dtype)


@cache
def shared_component(whole: Whole, name: str, dtype: torch.dtype) -> Any:  # noqa: ANN401 - a model of a library
    """Load one component of the folder once; tests must not change it."""
    loaded = component(whole, name, dtype)
    if name == "text_encoder":
        remember_outputs(loaded)
    return loaded


def remember_outputs(encoder: Any) -> None:  # noqa: ANN401 - a model of a library
    """Compute each input once: what the family and the stock pipeline ask of the encoder is the same in most tests."""
    forward, outputs = encoder.forward, {}

    def remembered(**inputs: object) -> object:
        key = pickle.dumps(inputs)
        if key not in outputs:
            outputs[key] = forward(**inputs)
        return outputs[key]

    encoder.forward = remembered


@cache
def rendered_unpacked(whole: Whole) -> torch.Tensor:
    """Return the latents of the request from the folder's own weights in bf16."""
    return rendered(pipeline_with(whole, torch.bfloat16))


def pipeline_with(whole: Whole, dtype: torch.dtype, **parts: object) -> Any:  # noqa: ANN401 - a diffusers pipeline
    """Build the pipeline with these components in place of the folder's; pipelines share its text encoder and VAE."""
    loaded = {name: parts[name] if name in parts else shared_component(whole, name, dtype) for name in OTHERS}
    loaded["transformer"] = parts["transformer"] if "transformer" in parts else component(whole, "transformer", dtype)
    pipeline = assemble(whole.folder, loaded, dtype)  # type: ignore[arg-type]
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def rendered(pipeline: ZImagePipeline) -> torch.Tensor:
    """Return the latents of the request, alone in its passes, from the engine's family."""
    return rendered_in_turn(pipeline, Path("no-models"), REQUEST)[0]


def rendered_in_turn(pipeline: ZImagePipeline, models_dir: Path, *requests: RenderRequest) -> list[torch.Tensor]:
    """Return the latents of each request, alone in its passes, from one family. LoRAs are in `loras` of `models_dir`."""
    model = load_catalogue().get("z-image-turbo")
    adapters = Adapters(pipeline, model, LoraLibrary(models_dir))
    family = make_family(FamilyContext(pipeline, model, CPU, CPU, adapters))
    found = []
    for request in requests:
        family.check(request, False)
        family.prepare_adapters(request)
        sample = family.start(request, family.encode(request), b"")
        while sample.step < sample.steps:
            family.step([sample])
        found.append(sample.latents[0].clone())
    return found


def stock(pipeline: ZImagePipeline) -> torch.Tensor:
    """Return the latents of the same request from the pipeline's own call."""
    latents: torch.Tensor = pipeline(
        prompt=REQUEST.prompt,
        width=REQUEST.width,
        height=REQUEST.height,
        num_inference_steps=REQUEST.num_inference_steps,
        guidance_scale=0.0,
        generator=torch.Generator("cpu").manual_seed(REQUEST.seed),
        output_type="latent",
    ).images[0]
    return latents
