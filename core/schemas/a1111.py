"""Schemas of A1111's API, as its clients send and expect them."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from core.schemas.base import NullableBody, ResponseBody, Text


class Txt2Img(NullableBody):
    """POST /sdapi/v1/txt2img. Fields without an effect here are listed in `info`, not refused."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [{"prompt": "a red fox", "steps": 8}]})

    prompt: Text = ""
    negative_prompt: Text | None = ""
    seed: int | None = -1
    subseed: int | None = Field(-1, description="Variation seed; has an effect with subseed_strength above 0.")
    subseed_strength: float | None = Field(0, allow_inf_nan=False, description="0 to 1.")
    steps: int | None = Field(None, description="Default: the model's own.")
    cfg_scale: float | None = Field(None, allow_inf_nan=False, description="Default: the model's own.")
    width: int | None = None
    height: int | None = None
    batch_size: int | None = 1
    n_iter: int | None = 1
    sampler_name: Text | None = None
    sampler_index: Text | None = None
    scheduler: Text | None = None
    override_settings: dict[str, Any] | None = None
    alwayson_scripts: dict[str, Any] | None = None
    script_name: Text | None = None
    styles: list[Text] | None = None
    enable_hr: bool | None = False
    restore_faces: bool | None = False
    tiling: bool | None = False
    send_images: bool | None = True
    force_task_id: Text | None = Field(None, max_length=200)


class Img2Img(Txt2Img):
    """POST /sdapi/v1/img2img: starts from the first of `init_images` (base64, or a data URL)."""

    init_images: list[str] | None = None
    denoising_strength: float | None = Field(None, allow_inf_nan=False)
    mask: str | None = Field(None, description="Inpainting: white areas are repainted. Base64, or a data URL.")
    mask_blur: int | None = Field(None, description="Pixels over which the new image fades out. Default: 0.")
    inpainting_mask_invert: int | None = Field(0, description="1: black areas are repainted.")
    include_init_images: bool | None = False


class A1111Style(ResponseBody):
    """A style that a request may name."""

    name: str
    prompt: str
    negative_prompt: str


class ImagesAnswer(ResponseBody):
    """Images as base64; `info` is JSON in a string."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class ProgressState(ResponseBody):
    """State of the running job."""

    skipped: bool = False
    interrupted: bool
    job: str
    job_count: int
    job_timestamp: str
    job_no: int = 0
    sampling_step: int
    sampling_steps: int


class ProgressAnswer(ResponseBody):
    """GET /sdapi/v1/progress: your own running job, or zeros."""

    progress: float
    eta_relative: float
    state: ProgressState
    current_image: str | None = None
    textinfo: str | None = None


class TaskProgressRequest(NullableBody):
    """POST /internal/progress."""

    id_task: Text = Field(max_length=200)
    id_live_preview: int = -1
    live_preview: bool = True


class TaskProgress(ResponseBody):
    """Progress of the job that was submitted with a `force_task_id`."""

    active: bool
    queued: bool
    completed: bool
    progress: float | None
    eta: float | None
    live_preview: str | None = None
    id_live_preview: int = -1
    textinfo: str | None


class PngInfoRequest(NullableBody):
    """POST /sdapi/v1/png-info: an image as base64, or a data URL."""

    image: str


class PngInfo(ResponseBody):
    """The A1111 text of an image, and its parsed values."""

    info: str
    items: dict[str, Any]
    parameters: dict[str, Any]


class Sampler(ResponseBody):
    """A sampler by its A1111 name."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class Scheduler(ResponseBody):
    """A noise schedule by its A1111 name."""

    name: str
    label: str
    aliases: list[str] | None = None
    default_rho: float = -1
    need_inner_model: bool = False


class SdModel(ResponseBody):
    """A model as A1111 lists its checkpoints."""

    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str
    config: str | None = None


class A1111Lora(ResponseBody):
    """A LoRA as A1111 lists it; `path` is relative to its folder."""

    name: str
    alias: str
    path: str
    metadata: dict[str, str]


class A1111Error(ResponseBody):
    """An error as A1111's clients expect it."""

    error: str
    detail: str
    body: str
    errors: str
    code: str
