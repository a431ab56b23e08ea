"""List models, samplers and options; answer with empty lists where the farm has no such feature."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from api.a1111.errors import errors
from api.a1111.request import A1111Caller, A1111Submitter
from api.a1111.without_effect import CHECKPOINT
from api.caller import Caller
from api.dependencies import CallerDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.styles import StyleChoice
from api.threads import in_thread
from api.views.loras import lora_list
from core.imagefile import decode_base64_image, read_metadata
from core.schemas.a1111 import A1111Lora, A1111Style, PngInfo, PngInfoRequest, Sampler, Scheduler, SdModel
from core.schemas.loras import Lora

router = APIRouter(prefix="/sdapi/v1", tags=["a1111"], route_class=LazyRoute)

EMPTY_LISTS = (
    *("latent-upscale-modes", "face-restorers", "realesrgan-models", "hypernetworks"),
    *("sd-vae", "sd-modules", "script-info", "extensions"),
)
EMPTY_OBJECTS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "embeddings": {"loaded": {}, "skipped": {}},
        "scripts": {"txt2img": [], "img2img": []},
        "cmd-flags": {},
    }
)


_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "samples_format": "png",
        "samples_save": True,
        "sd_vae": "Automatic",
        "sd_checkpoint_hash": "",
        "CLIP_stop_at_last_layers": 1,
        "show_progress_every_n_steps": 2,
        "live_previews_enable": True,
    }
)


@router.get("/sd-models", response_model=list[SdModel], summary="Models that accept jobs", responses=errors())
async def read_sd_models(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List the models for which a job would be accepted now."""
    overview = await farm.overview.get()
    rows = [model for model in farm.catalogue if farm.model_selector.refusal(model, overview) is None]
    return JSONResponse([SdModel(title=model.id, model_name=model.id, filename=model.id).model_dump() for model in rows])


@router.get("/samplers", response_model=list[Sampler], summary="Samplers", responses=errors())
async def read_samplers(caller: CallerDependency) -> Response:
    """List one sampler: each model renders with its own scheduler and ignores the requested one."""
    return JSONResponse([Sampler(name="Euler", aliases=["euler"], options={}).model_dump()])


@router.get("/schedulers", response_model=list[Scheduler], summary="Schedulers", responses=errors())
async def read_schedulers(caller: CallerDependency) -> Response:
    """List one scheduler, the model's own."""
    return JSONResponse([Scheduler(name="automatic", label="Automatic").model_dump()])


@router.get("/options", summary="Options in force", responses=errors())
async def read_options(farm: FarmDependency, caller: A1111Caller) -> dict[str, Any]:
    """Return the model of your requests and the format of images; other options have no effect."""
    return {CHECKPOINT: await _checkpoint(farm, caller), **_OPTIONS}


@router.post("/options", summary="Choose your model", responses=errors(400, 408, 409, 413, 415))
async def write_options(farm: FarmDependency, caller: A1111Submitter, options: dict[str, Any]) -> Response:
    """Set `sd_model_checkpoint` for your own requests until this process ends; other options have no effect."""
    wanted = options.get(CHECKPOINT)
    if wanted:
        model = farm.model_selector.choose(str(wanted), await farm.overview.get())
        farm.checkpoints[caller.owner] = model.id
    return JSONResponse(None)


async def _checkpoint(farm: Farm, caller: Caller) -> str:
    return farm.checkpoints.get(caller.owner) or farm.model_selector.default(await farm.overview.get()).id


@router.get("/loras", response_model=list[A1111Lora], summary="LoRAs", responses=errors())
async def read_loras(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List the LoRAs that some model takes; write `<lora:NAME:SCALE>` into a prompt to apply one."""
    found = await farm.single_flight.join("loras", lambda: in_thread(lora_list, farm.loras, farm.catalogue))
    rows = {lora.name: lora for lora in reversed(found.items) if lora.models}
    return JSONResponse([_a1111_lora(rows[name]).model_dump() for name in sorted(rows)])


def _a1111_lora(lora: Lora) -> A1111Lora:
    texts = {
        "ss_base_model_version": lora.base,
        "modelspec.trigger_phrase": ", ".join(lora.trigger_words),
        "sshs_model_hash": lora.hash,
    }
    return A1111Lora(
        name=lora.name,
        alias=lora.name,
        path=lora.file,
        metadata={name: text for name, text in texts.items() if text},
    )


@router.get("/prompt-styles", response_model=list[A1111Style], summary="Styles", responses=errors())
async def read_prompt_styles(farm: FarmDependency, caller: A1111Caller) -> Response:
    """List the styles that your requests may name: your own, the shared ones and the built-in ones."""
    known = await in_thread(lambda: StyleChoice(farm, caller).known)
    first = {style.name: style for style in reversed(known)}
    return JSONResponse(
        [
            A1111Style(name=style.name, prompt=style.prompt, negative_prompt=style.negative_prompt).model_dump()
            for style in first.values()
        ]
    )


@router.post("/png-info", response_model=PngInfo, summary="Metadata of an image", responses=errors(400, 408, 413, 415))
async def read_png_info(farm: FarmDependency, caller: CallerDependency, wanted: PngInfoRequest) -> Response:
    """Read the `parameters` text of an image from this farm or another tool; empty when it has none."""
    async with farm.decoding:
        found = await in_thread(lambda: read_metadata(decode_base64_image(wanted.image, "image")))
    text = found.parameters_text or ""
    items = {"parameters": text} if text else {}
    settings = found.parameters.settings if found.parameters is not None else {}
    prompts = (
        {"Prompt": found.parameters.prompt, "Negative prompt": found.parameters.negative_prompt}
        if found.parameters is not None
        else {}
    )
    return json_response(PngInfo(info=text, items=items, parameters=prompts | settings))


def _add_empty(path: str, body: list[Any] | dict[str, Any]) -> None:
    async def read(caller: CallerDependency) -> Response:
        return JSONResponse(body)

    router.add_api_route(
        f"/{path}",
        read,
        methods=["GET"],
        summary="Not available: always empty",
        description="Answer an empty list or object: the farm has nothing of this kind.",
        name=f"read_{path}",
        responses=errors(),
    )


for _path in EMPTY_LISTS:
    _add_empty(_path, [])
for _path, _body in EMPTY_OBJECTS.items():
    _add_empty(_path, _body)
