"""Schemas of weight files on the API's machine, and of models that are added from them."""

from __future__ import annotations

from pydantic import Field

from core.schemas.base import RequestBody, ResponseBody, Text
from core.schemas.models import Model

_FILE = "A path that GET /v1/models/files lists, or a file name that only one of them has."


class ModelFile(ResponseBody):
    """A weight file, as its header says."""

    path: str = Field(description="Relative to `folder`.")
    folder: str = Field(description="One of the folders of IMAGEFARM_WEIGHTS_DIRS.")
    purpose: str = Field(description="diffusion_models, checkpoints, text_encoders, vae, loras or upscale_models")
    kind: str = Field(description="checkpoint, component, lora, upscaler or unknown")
    container: str
    architectures: list[str]
    components: list[str]
    precision: str
    size_bytes: int
    sentence: str = Field(description="What the file seems to be, and what is supported when it cannot be used.")
    models: list[str] = Field(description="Ids of the models that use it.")


class ModelFileList(ResponseBody):
    """GET /v1/models/files: what this API process reads on its machine, which workers may not share."""

    items: list[ModelFile]
    problems: list[str] = Field(description="Folders that cannot be read, and rows of models.toml that are left out.")


class AddModelRequest(RequestBody):
    """Send `path` or `repo`."""

    path: Text | None = Field(None, max_length=4096, description=_FILE)
    repo: Text | None = Field(None, max_length=200, description="A repository of the hub, such as `Lykon/dreamshaper-8`.")
    name: Text | None = Field(None, max_length=64, description="Id of the model. Default: made from the file's name.")
    text_encoder: Text | None = Field(None, max_length=4096, description=_FILE)
    text_encoder_2: Text | None = Field(None, max_length=4096, description=_FILE)
    vae: Text | None = Field(None, max_length=4096, description=_FILE)
    base: Text | None = Field(None, max_length=64, description="The shipped model whose defaults and limits it gets.")


class AddedModel(ResponseBody):
    """A new model, and sentences that say what the files are and what was assumed."""

    model: Model
    sentences: list[str]
