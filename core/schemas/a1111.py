"""Schemas of A1111's API, as its clients send and expect them."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

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
    denoising_strength: float | None = Field(
        None, allow_inf_nan=False, description="Of img2img, and of the second pass of enable_hr: 0 keeps the image."
    )
    enable_hr: bool | None = Field(False, description="Render each image again, enlarged: POST /v1/images/ID/refine.")
    hr_scale: float | None = Field(None, gt=0, le=16, allow_inf_nan=False, description="Default: 2.")
    hr_upscaler: Text | None = Field(None, max_length=200, description="A name from /sdapi/v1/upscalers.")
    hr_second_pass_steps: int | None = Field(None, description="Default, and 0: the steps of the first pass.")
    hr_resize_x: int | None = Field(None, description="Width in place of hr_scale; 0: none.")
    hr_resize_y: int | None = Field(None, description="Height in place of hr_scale; 0: none.")
    restore_faces: bool | None = False
    tiling: bool | None = False
    send_images: bool | None = True
    force_task_id: Text | None = Field(None, max_length=200)

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        """Refuse half surrogate pairs in fields of any shape: the answer repeats them in UTF-8."""
        for name, value in {**self._any_shape(), **(self.model_extra or {})}.items():
            text = json.dumps({name: value}, ensure_ascii=False, default=str)
            if not text.isascii() and (text.encode("utf-8", "replace") != text.encode("utf-8", "surrogatepass")):
                raise ValueError("a field holds half of a surrogate pair, which is not a character: send valid Unicode")
        return self

    def _any_shape(self) -> dict[str, Any]:
        return {"override_settings": self.override_settings, "alwayson_scripts": self.alwayson_scripts}


class Img2Img(Txt2Img):
    """POST /sdapi/v1/img2img: starts from the first of `init_images` (base64, or a data URL)."""

    init_images: list[str] | None = None
    resize_mode: int | None = Field(0, description="0: stretch, 1: crop, 2: continue the edges.")
    mask: str | None = Field(None, description="Inpainting: white areas are repainted. Base64, or a data URL.")
    mask_blur: int | None = Field(None, description="Pixels over which the new image fades out. Default: 0.")
    mask_blur_x: int | None = None
    mask_blur_y: int | None = None
    inpainting_mask_invert: bool | int | None = Field(0, description="1: black areas are repainted.")
    inpainting_fill: int | None = Field(
        None, description="What masked areas start from: 0 neighbours, 1 the image (default), 2 noise, 3 grey."
    )
    inpaint_full_res: bool | int | None = Field(False, description="Render only the area around the mask, then paste it.")
    inpaint_full_res_padding: int | None = Field(None, description="Pixels around that area. Default: 0.")
    include_init_images: bool | None = False


class A1111Style(ResponseBody):
    """A style that a request may name."""

    name: str
    prompt: str
    negative_prompt: str


class A1111Images(ResponseBody):
    """Images as base64; `info` is JSON in a string."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class ProgressState(ResponseBody):
    """State of the running job."""

    skipped: bool = False
    interrupted: bool
    stopping_generation: bool = False
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
    id_live_preview: int = Field(-1, description="The id of the last preview that you have: it is not sent again.")
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


class ExtrasOptions(NullableBody):
    """How to enlarge images."""

    model_config = ConfigDict(extra="allow")

    resize_mode: int | None = Field(0, description="0: by upscaling_resize, 1: to upscaling_resize_w and _h.")
    upscaling_resize: float | None = Field(None, gt=0, le=16, allow_inf_nan=False, description="Default: 2.")
    upscaling_resize_w: int | None = Field(None, ge=1, le=2**17, description="Default: 512.")
    upscaling_resize_h: int | None = Field(None, ge=1, le=2**17, description="Default: 512.")
    upscaling_crop: bool | None = Field(None, description="Of resize_mode 1: cut to that size. Default: yes.")
    upscaler_1: Text | None = Field(None, max_length=200, description="A name from /sdapi/v1/upscalers.")
    upscaler_2: Text | None = Field(None, max_length=200, description="Has no effect.")
    extras_upscaler_2_visibility: float | None = Field(None, allow_inf_nan=False)
    gfpgan_visibility: float | None = Field(None, allow_inf_nan=False)
    codeformer_visibility: float | None = Field(None, allow_inf_nan=False)


class ExtraSingleImage(ExtrasOptions):
    """POST /sdapi/v1/extra-single-image."""

    image: str = Field(description="Base64, or a data URL.")


class NamedFile(NullableBody):
    """An image of a batch, as base64 or a data URL."""

    data: str
    name: Text = Field("", max_length=500)


class ExtraBatchImages(ExtrasOptions):
    """POST /sdapi/v1/extra-batch-images."""

    imageList: list[NamedFile] = Field(description="The images.")  # noqa: N815 -- A1111's own name


class ExtraSingleAnswer(ResponseBody):
    """The enlarged image as base64; `html_info` names the result and what had no effect."""

    html_info: str
    image: str


class ExtraBatchAnswer(ResponseBody):
    """The enlarged images as base64, in the order of the request."""

    html_info: str
    images: list[str]


class A1111Upscaler(ResponseBody):
    """An upscaler by its A1111 name."""

    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float | None = 4


class MemoryAnswer(ResponseBody):
    """Memory of the machine of the API in bytes; `cuda` says where that of the GPUs is shown."""

    ram: dict[str, float]
    cuda: dict[str, str]
