"""Turn the steps of a graph into jobs: the first ones to submit now, later ones to submit once their start images are done.

A later job is checked and completed here as well, with a placeholder for its start image, and kept in the prompt's plan;
`later_job` puts the image in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from api.caller import Caller
from api.comfyui.files import KnownFiles, LoadedImage, output_image
from api.expanded_texts import ExpandedTexts
from api.farm import Farm
from api.overview import Overview
from api.refine import check_upscaler
from api.submission import prepare_job
from api.threads import in_thread
from api.uploads import StartImages, init_image_of, require_file, require_image_file, store_upload
from api.upscales import chosen_upscaler, image_input, upload_input, upscale_job
from api.validation import from_pydantic
from core.catalogue import CatalogueModel
from core.catalogue.upscalers import LANCZOS
from core.comfyui import GraphRefused, NodeError, Plan, ReadStep
from core.comfyui.errors import node_errors
from core.comfyui.plan import Enlarge, Render
from core.comfyui.png_texts import FIELD
from core.comfyui.validation import Graph, outputs_failed
from core.errors import Conflict, FarmError, Gone, InvalidInput
from core.imagefile.masks import mask_of_transparency
from core.lifecycle import JobKind
from core.parameters import InitImage, InvalidParameters, MaskImage
from core.parameters.normalise import Origin
from core.parameters.parameters import Parent
from core.queue import PRIORITY_DEFAULT
from core.refine_mode import RefineMode
from core.render import MAX_SEED
from core.schemas.jobs import JobRequest
from core.schemas.upscales import UpscaleRequest
from db.jobs.submit import NewJob
from db.tables import Image, Job

FACE = "comfyui"
"""Marks the jobs of this face in the database."""
MAX_JOBS = 64
_DEFAULT_SHIFT = 3.0
_USUAL_SAMPLING = ({"euler", "res_multistep"}, {"simple", "normal", "sgm_uniform"})


@dataclass(frozen=True)
class PlannedJob:
    """One job of a prompt. `source`: the position of the job that it starts from, and which image of that one's."""

    new: NewJob
    node: str
    nodes: tuple[str, ...]
    source: tuple[int, int] | None = None


@dataclass
class PlannedPrompt:
    """All jobs of a prompt in order, and the output nodes as the plan stores them."""

    jobs: list[PlannedJob] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def stored(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {"jobs": [_stored(job) for job in self.jobs], "outputs": self.outputs}


def _stored(job: PlannedJob) -> dict[str, Any]:
    found: dict[str, Any] = {"node": job.node, "nodes": list(job.nodes), "source": None, "new": None}
    if job.source is not None:
        found["source"] = {"job": job.source[0], "image": job.source[1]}
        found["new"] = asdict(replace(job.new, window=0, max_queued=0)) | {"kind": job.new.kind.value}
    return found


@dataclass(frozen=True)
class Planner:
    """Plans the jobs of one request."""

    farm: Farm
    caller: Caller
    overview: Overview
    files: KnownFiles
    images: Mapping[str, LoadedImage]
    prompt_id: str
    front: bool = False

    async def plan(self, graph: Graph, plan: Plan) -> PlannedPrompt:
        """Return the jobs. Raises GraphRefused, which names a node that the farm cannot run, or Conflict."""
        planned = PlannedPrompt()
        made: list[list[int]] = []
        for step in plan.steps:
            try:
                made.append(await self._step(step, planned, made))
            except ValidationError as error:
                raise self._refused(graph, plan, step, from_pydantic(error)) from None
            except (InvalidInput, Conflict, Gone) as error:
                raise self._refused(graph, plan, step, error) from error
            if len(planned.jobs) > MAX_JOBS:
                limit = InvalidInput(f"The graph makes {len(planned.jobs)} jobs: lower batch_size, to at most {MAX_JOBS}.")
                raise self._refused(graph, plan, step, limit)
        for output in plan.outputs:
            names = {"prefix": output.prefix, "is_temporary": output.is_temporary}
            planned.outputs.append({"node": output.node, "nodes": list(output.nodes), "jobs": made[output.step], **names})
        return planned

    def _refused(self, graph: Graph, plan: Plan, step: ReadStep, error: FarmError) -> GraphRefused:
        problems = error.problems if isinstance(error, InvalidParameters) else [("", error.message)]
        found = [
            NodeError(
                "custom_validation_failed",
                f"{field}: {message}" if field else message,
                f"{graph.nodes[step.node].kind} {step.node}",
                {"code": error.code, "input_name": field},
            )
            for field, message in problems
        ]
        outputs = {step.node: [output.node for output in plan.outputs]}
        errors = node_errors({step.node: found}, {step.node: graph.nodes[step.node].kind}, outputs)
        return GraphRefused(outputs_failed(errors), errors)

    async def _step(self, step: ReadStep, planned: PlannedPrompt, made: Sequence[Sequence[int]]) -> list[int]:
        """Plan the jobs of a step, one for each image that it starts from; return their positions."""
        planned.warnings += step.warnings
        start = step.start
        sources: list[tuple[int, int] | None] = [None]
        if start is not None and start.step is not None:
            parents = made[start.step]
            sources = [(job, index) for job in parents for index in range(planned.jobs[job].new.input["num_images"])]
        positions: list[int] = []
        for number, source in enumerate(sources):
            parent = planned.jobs[source[0]].new if source is not None else None
            if isinstance(step.work, Render):
                new = await self._render(step, step.work, parent, number)
            else:
                new = await in_thread(self._enlarge, step, step.work, parent)
            planned.warnings += [each for each in new.warnings if each not in planned.warnings]
            planned.jobs.append(PlannedJob(replace(new, face=FACE), step.node, step.nodes, source))
            positions.append(len(planned.jobs) - 1)
        return positions

    async def _render(self, step: ReadStep, work: Render, parent: NewJob | None, number: int) -> NewJob:
        model = self.files.models.model(*work.loader)
        warnings = self._about(work, model)
        fields: dict[str, Any] = {
            "prompt": work.prompt,
            "negative_prompt": work.negative_prompt or None,
            "model": model.id,
            "guidance_scale": work.guidance,
            "num_images": 1 if parent is not None else work.count,
            "loras": [{"name": self._lora(name), "scale": scale} for name, scale in work.loras],
            "metadata": {"prompt_id": self.prompt_id},
            "priority": PRIORITY_DEFAULT + self.front,
        }
        fields["seed"] = _seed(work.seed + number, fields["num_images"], warnings)
        fields |= _size(work, model, warnings)
        fields |= _steps(work, model, warnings)
        start = await self._start(step, work, parent)
        if start.init_image is not None:
            fields |= {"init_image": "start", "strength": work.strength}
        if start.mask is not None:
            fields["mask"] = "mask"
        request = JobRequest.model_validate({name: value for name, value in fields.items() if value is not None})
        check_upscaler(start.origin.upscaler, self.overview, model.id)
        loras = self.files.loras if work.loras or "<lora:" in work.prompt + work.negative_prompt else ()
        new = prepare_job(
            self.farm, self.caller, request, self.overview, start, loras, ExpandedTexts(request), empty_prompt=True
        )
        return replace(new, warnings=[*new.warnings, *warnings], requested=self._requested(request.as_sent()))

    def _requested(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Return what is stored as the request; the names of images in it are the graph's."""
        return {name: value for name, value in sent.items() if name not in ("init_image", "mask")}

    def _lora(self, name: str) -> str:
        return self.files.models.loras[name.replace("\\", "/")]

    def _upscaler(self, name: str | None) -> str | None:
        return None if name is None else self.files.models.upscaler_id(name)

    def _about(self, work: Render, model: CatalogueModel) -> list[str]:
        """Return a sentence for each value of a sampler or loader that has no effect here."""
        found = []
        if work.sampler not in _USUAL_SAMPLING[0] or work.scheduler not in _USUAL_SAMPLING[1]:
            found.append(
                f"sampler_name {work.sampler} and scheduler {work.scheduler} have no effect: {model.id} has its own."
            )
        own_shift = float(model.scheduler.config.get("shift", _DEFAULT_SHIFT)) if model.scheduler else _DEFAULT_SHIFT
        if work.shift is not None and work.shift != own_shift:
            found.append(f"shift {work.shift:g} of ModelSamplingAuraFlow has no effect: {model.id} has {own_shift:g}.")
        parts = {"text encoder": work.text_encoders, "VAE": (work.vae,) if work.vae is not None else ()}
        for what, names in parts.items():
            found += [
                f"The {what} {name} has no effect: {model.id} is loaded with its own."
                for name in names
                if not self.files.models.is_part(model, name)
            ]
        return found

    async def _start(self, step: ReadStep, work: Render, parent: NewJob | None) -> StartImages:
        upscaler = self._upscaler(work.upscaler)
        if parent is not None:
            size = {"width": parent.input["width"], "height": parent.input["height"]}
            placeholder = InitImage(key="", sha256="", **size)
            mode = Origin(Parent(image="", model=parent.model), RefineMode.HIRES, upscaler=upscaler or LANCZOS)
            return StartImages(placeholder, await self._mask(work), mode)
        if step.start is None or step.start.upload is None:
            return StartImages()
        loaded = self.images[step.start.upload]
        if loaded.upload is not None:
            await in_thread(require_file, self.farm, loaded.upload)
            fields = {name: getattr(loaded.upload, name) for name in ("key", "width", "height", "sha256")}
            return StartImages(
                InitImage(upload_id=loaded.upload.id, **fields), await self._mask(work), Origin(upscaler=upscaler)
            )
        assert loaded.image is not None and loaded.job is not None  # noqa: S101 -- an upload, or an image
        await in_thread(require_image_file, self.farm, loaded.image, "image")
        origin = Origin(Parent(image=loaded.image.id, model=loaded.job.model), upscaler=upscaler)
        return StartImages(init_image_of(loaded.image), await self._mask(work), origin)

    async def _mask(self, work: Render) -> MaskImage | None:
        """Store the mask that a graph takes from the transparency of an image: white is repainted."""
        if work.mask is None:
            return None
        loaded = self.images[work.mask]
        if loaded.upload is None:
            raise InvalidInput("The image has no transparent area to repaint: upload one that has.", field="mask")
        async with self.farm.decoding:
            stored = await in_thread(self.farm.uploads.read, loaded.upload.key)
            limit = self.farm.settings.max_upload_pixels
            data, share = await in_thread(mask_of_transparency, stored, work.grow_mask_by, max_pixels=limit)
        upload = await store_upload(self.farm, self.caller, data, "mask")
        fields = {name: getattr(upload, name) for name in ("key", "width", "height", "sha256")}
        return MaskImage(upload_id=upload.id, white_share=share, **fields)

    def _enlarge(self, step: ReadStep, work: Enlarge, parent: NewJob | None) -> NewJob:
        request = UpscaleRequest(image="start", scale=work.scale, upscaler=self._upscaler(work.upscaler) or LANCZOS)
        upscaler = chosen_upscaler(self.farm, request, self.overview)
        if parent is not None:
            size = {"width": parent.input["width"], "height": parent.input["height"]}
            found: dict[str, Any] = {"seed": parent.input["seed"], "parent": {}, "source": size}
        else:
            assert step.start is not None and step.start.upload is not None  # noqa: S101 -- without a parent
            found = self._input_of(self.images[step.start.upload])
        sent = {"scale": work.scale, "upscaler": upscaler.id, "metadata": {"prompt_id": self.prompt_id}}
        new = upscale_job(self.farm, self.caller, request, self.overview, upscaler, found, sent)
        return replace(new, priority=PRIORITY_DEFAULT + self.front)

    def _input_of(self, loaded: LoadedImage) -> dict[str, Any]:
        if loaded.upload is not None:
            require_file(self.farm, loaded.upload)
            return upload_input(loaded.upload)
        assert loaded.image is not None and loaded.job is not None  # noqa: S101 -- an upload, or an image
        require_image_file(self.farm, loaded.image, "image")
        return image_input(loaded.image, loaded.job)


def _seed(seed: int, count: int, warnings: list[str]) -> int:
    largest = MAX_SEED - count + 1
    if seed <= largest:
        return seed
    mapped = seed % (largest + 1)
    warnings.append(f"Seed {seed} is beyond 32 bits: the image is rendered with seed {mapped}.")
    return mapped


def _size(work: Render, model: CatalogueModel, warnings: list[str]) -> dict[str, int]:
    """Return the size, with sides rounded down to what the model renders."""
    multiple = model.limits.multiple
    width, height = (max(side // multiple, 1) * multiple for side in (work.width, work.height))
    if (width, height) != (work.width, work.height):
        warnings.append(f"{work.width}x{work.height} becomes {width}x{height}: {model.id} takes multiples of {multiple}.")
    return {"width": width, "height": height}


def _steps(work: Render, model: CatalogueModel, warnings: list[str]) -> dict[str, int]:
    """Return the steps of the whole schedule, of which ComfyUI runs `steps` and diffusers a share of `strength`."""
    if work.strength is None or work.strength >= 1:
        return {"num_inference_steps": work.steps}
    limit, whole = model.limits.max_steps, math.ceil(work.steps / work.strength)
    if whole <= limit:
        return {"num_inference_steps": whole}
    if work.steps > limit:
        return {"num_inference_steps": work.steps}  # More than the model takes, which the job's check says.
    warnings.append(
        f"{work.steps} steps at denoise {work.strength:g} become {max(int(limit * work.strength), 1)}: {model.id} has "
        f"schedules of at most {limit} steps."
    )
    return {"num_inference_steps": limit}


def with_texts(new: NewJob, texts: Mapping[str, str]) -> NewJob:
    """Return the job with the texts that its images are to carry."""
    return replace(new, requested={**new.requested, FIELD: dict(texts)})


def later_job(entry: Mapping[str, Any], image: Image, parent: Job, overview: Overview, texts: Mapping[str, str]) -> NewJob:
    """Return a job of a stored plan that starts from this image, which the job `parent` has made."""
    given = dict(entry["new"])
    new = NewJob(**{**given, "kind": JobKind(given["kind"]), "window": overview.window(given["model"])})
    if new.kind is JobKind.UPSCALE:
        found = image_input(image, parent)
        scale = int(new.input["scale"])
        kept = {name: new.input[name] for name in ("upscaler", "scale", "num_images")}
        size = {"width": image.width * scale, "height": image.height * scale}
        new = replace(new, prompt=found.get("prompt", ""), input=found | kept | size)
    else:
        start = init_image_of(image).model_dump(mode="json", exclude_none=True)
        new = replace(new, input=new.input | {"init_image": start, "parent": {"image": image.id, "model": parent.model}})
    return with_texts(new, texts)


def names_of_images(images: Sequence[Image], output: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Return ComfyUI's names of the images of an output node."""
    return [output_image(output["prefix"], image.id, is_temporary=output["is_temporary"]) for image in images]
