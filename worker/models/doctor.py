"""Checks of a machine for rendering: each inspects one thing and recommends a remedy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.catalogue import CatalogueModel, ModelPaths, load_catalogue, locate, resolve_auto, served_models
from core.catalogue.catalogue import PREFERRED
from core.catalogue.recognise import recognise
from core.catalogue.weight_file import WeightFile
from core.errors import FarmError, RenderError
from core.extras import install_command
from core.settings import Settings
from worker.device.machine import GIGABYTE
from worker.memory.cpu_form import CpuForm, choose_cpu_plan, forecast, forms_by_speed, is_measured
from worker.memory.plan import MemoryPlan
from worker.memory.sizes import ModelSizes, read_sizes, sizes_of_row
from worker.models.auto_check import check_auto
from worker.models.folders import SPARE_BYTES, free_bytes
from worker.models.status import model_status
from worker.safety_hook import load_safety_hook

if TYPE_CHECKING:
    from worker.device.cpu_probe import CpuSpeed

LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors")
IMPORT_SECONDS = 120


@dataclass(frozen=True)
class Check:
    """`detail`: what was found. `advice`: what to do about it, empty if nothing."""

    name: str
    status: Literal["ok", "warning", "problem"]
    detail: str
    advice: str = ""


def run_checks(settings: Settings) -> Iterator[Check]:
    """Yield all checks one by one, so that each can be shown as it completes; none of them raises."""
    checks: tuple[Callable[[Settings], Check], ...] = (
        lambda _: check_python(),
        lambda _: check_libraries(),
        lambda _: check_torchvision(),
        check_devices,
        check_disk,
        check_weights,
        check_tier,
        check_copies,
        check_cpu,
        check_safety_hook,
    )
    for check in checks:
        yield check(settings)


def check_python() -> Check:
    """Report the interpreter; pip refuses to install the farm on one that is too old."""
    return Check("python", "ok", f"Python {platform.python_version()} at {sys.executable}")


def check_libraries() -> Check:
    """Check that the libraries that rendering depends on are installed."""
    found, lacking = {}, []
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            lacking.append(name)
    detail = ", ".join(f"{name} {number}" for name, number in found.items())
    if lacking:
        return Check("libraries", "problem", detail, f"Install {', '.join(lacking)}: {install_command('worker')}")
    return Check("libraries", "ok", detail)


def check_torchvision() -> Check:
    """Check an installed torchvision: the farm does not need it, but one that mismatches torch breaks diffusers."""
    try:
        number = version("torchvision")
    except PackageNotFoundError:
        return Check("torchvision", "ok", "not installed, as it should be")
    if imports("torchvision"):
        return Check("torchvision", "ok", f"torchvision {number} imports")
    advice = "Remove it: `pip uninstall torchvision`. The farm does not use it."
    return Check("torchvision", "problem", f"torchvision {number} is installed but does not import", advice)


def imports(module: str) -> bool:
    """Return whether a module imports, tried in a separate process so that a broken one has no effect here."""
    try:
        command = [sys.executable, "-P", "-c", f"import {module}"]
        done = subprocess.run(command, capture_output=True, timeout=IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def check_devices(settings: Settings) -> Check:
    """List the CUDA devices that torch sees, with their free memory, and say what keeps them from rendering.

    One that the settings do not choose, such as an old card for the screen, is no problem.
    """
    try:
        import torch
    except ImportError as error:
        return Check("devices", "problem", f"torch does not import: {error}", install_command("worker"))
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        advice = "Rendering runs on the CPU. With an NVIDIA GPU, check the driver (`nvidia-smi`) and torch's build."
        return Check("devices", "warning", f"no CUDA device; torch {torch.__version__} is {built}", advice)
    described = [_describe_gpu(index) for index in range(torch.cuda.device_count())]
    found, usable = [detail for detail, _ in described], [is_usable for _, is_usable in described]
    if not all(usable):
        advice = "Check it with `nvidia-smi`, install a build of torch for it, or name another device in IMAGEFARM_DEVICE."
        status: Literal["warning", "problem"] = "warning" if _renders_elsewhere(settings, usable) else "problem"
        return Check("devices", status, "; ".join(found), advice)
    compiles = settings.device != "cpu" and settings.compile_blocks != "off"
    if compiles and (lacking := lacking_for_kernels()):
        advice = "Models' blocks are then not compiled, and steps take longer. On Debian: `apt install gcc python3-dev`."
        return Check("devices", "warning", f"{'; '.join(found)}; {lacking}", advice)
    return Check("devices", "ok", "; ".join(found))


def _renders_elsewhere(settings: Settings, usable: list[bool]) -> bool:
    """Return whether the settings choose a GPU that can be used, or the CPU by its name."""
    from worker.device.torch_device import resolve_device

    try:
        device = resolve_device(settings.device)
    except (FarmError, RuntimeError):
        return False
    return settings.device == "cpu" if device.type == "cpu" else usable[device.index]


def _describe_gpu(index: int) -> tuple[str, bool]:
    """Return what a GPU is, and whether it can be used; another process may hold all of it, or the driver refuse it."""
    import torch

    from worker.device.torch_device import missing_kernels

    try:
        if lacking := missing_kernels(index):
            return lacking, False
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
    except RuntimeError as error:
        return f"cuda:{index} cannot be used: {str(error).strip().partition(chr(10))[0]}", False
    return f"cuda:{index} {name}, {free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free", True


def lacking_for_kernels() -> str:
    """Return what torch's compiler lacks here to start its kernels on a GPU, for which it compiles C; empty if nothing."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "there is no C compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's header files are missing"
    return ""


def check_disk(settings: Settings) -> Check:
    """Check the free disk space where models are kept."""
    folder = settings.resolved_models_dir
    free = free_bytes(folder)
    detail = f"{free / GIGABYTE:.1f} GB free under {folder}"
    if free < 2 * GIGABYTE:
        return Check("disk", "problem", detail, "Free some space, or set IMAGEFARM_MODELS_DIR to a larger disk.")
    return Check("disk", "ok", detail)


def check_weights(settings: Settings) -> Check:
    """Check that the weights of every model that a worker would serve are on disk."""
    try:
        check_auto(settings)
        resolved, _ = resolve_auto(settings), served_models(settings)
    except FarmError as error:
        return Check("weights", "problem", error.message, "Set IMAGEFARM_MODEL to one of them, or to auto.")
    statuses = {model.id: model_status(model, ModelPaths.of(settings)) for model in served_models(settings)}
    for model, status in statuses.items():
        if not status.here:
            return Check("weights", "problem", f"{model} is not here", status.missing)
    detail = "; ".join(f"{model}: {status.directory or status.origin}" for model, status in statuses.items())
    if resolved.explanation:
        return Check("weights", "warning", detail, resolved.explanation)
    return Check("weights", "ok", detail)


def check_tier(settings: Settings) -> Check:
    """Report the memory tier that a worker would choose now, from the weights on disk or else the catalogue's sizes."""
    try:
        plan = plan_memory(settings)
    except FarmError as error:
        return Check("memory", "problem", error.message, "See docs/concepts/memory.md for what each tier needs.")
    except ImportError as error:
        return Check("memory", "problem", f"torch does not import: {error}", install_command("worker"))
    except RuntimeError as error:
        return Check("memory", "problem", f"the GPU does not tell its memory: {error}", "See the check of devices.")
    return Check("memory", "ok", plan.describe(), _plan_of_preferred(settings))


def _plan_of_preferred(settings: Settings) -> str:
    """Return how the model that `auto` prefers would run here, while its weights are not and `auto` is a tiny model."""
    if settings.model != "auto" or not resolve_auto(settings).model.built_locally:
        return ""
    model = load_catalogue().get(PREFERRED)
    try:
        plan = _plan_in(settings, model, _default_form(settings, model)).describe()
    except FarmError as error:
        plan = error.message
    return f"For {model.id}, whose weights are not here: {plan}"


def check_copies(settings: Settings) -> Check:
    """Check the disk space for the copies of the weights that the first load in that tier writes."""
    try:
        needed = bytes_of_copies(settings)
    except (FarmError, ImportError, RuntimeError):
        return Check("copies", "ok", "unknown until a memory tier can be chosen")
    if not needed:
        return Check("copies", "ok", "no copies need to be written before the model is loaded")
    free = free_bytes(settings.resolved_models_dir)
    detail = f"{needed / GIGABYTE:.1f} GB will be written when the model is first loaded; {free / GIGABYTE:.1f} GB are free"
    if free < needed + SPARE_BYTES:
        advice = "Free some space, or set IMAGEFARM_MODELS_DIR to a larger disk: else every load converts the weights again."
        return Check("copies", "warning", detail, advice)
    return Check("copies", "ok", detail)


def check_cpu(settings: Settings) -> Check:
    """Report how fast an image should be on this CPU, measured for about two seconds unless it was before."""
    try:
        expected = cpu_forecast(settings)
    except (FarmError, ImportError, RuntimeError):
        return Check("cpu", "ok", "unknown until a memory tier can be chosen")
    if expected is None:
        return Check("cpu", "ok", "not measured: the model is small, or a GPU renders it")
    return Check("cpu", "ok", expected)


def check_safety_hook(settings: Settings) -> Check:
    """Check that the configured safety hook can be imported: workers do not start without it."""
    if not settings.safety_hook:
        return Check("safety", "ok", "no safety hook is set")
    try:
        load_safety_hook(settings.safety_hook)
    except FarmError as error:
        return Check("safety", "problem", error.message, "Correct IMAGEFARM_SAFETY_HOOK, or unset it.")
    return Check("safety", "ok", f"{settings.safety_hook} checks every finished image")


def plan_memory(settings: Settings) -> MemoryPlan:
    """Plan the memory of the model and device that the settings name."""
    return _choose(settings).plan


@dataclass(frozen=True)
class _Choice:
    """What a worker would choose now. `speed`: of the CPU, where the choice depends on it."""

    form: CpuForm
    plan: MemoryPlan
    speed: CpuSpeed | None


def _choose(settings: Settings) -> _Choice:
    model = resolve_auto(settings).model
    speed = _speed_of_cpu(settings, model)
    if speed is None:
        form = _default_form(settings, model)
        return _Choice(form, _plan_in(settings, model, form), None)
    form, plan = choose_cpu_plan(forms_by_speed(model, speed), speed, lambda form: _plan_in(settings, model, form))
    return _Choice(form, plan, speed)


def _default_form(settings: Settings, model: CatalogueModel) -> CpuForm:
    from worker.device.dtypes import choose_dtype, dtype_name
    from worker.device.torch_device import resolve_device

    dtype = dtype_name(choose_dtype(model, resolve_device(settings.device)))
    return CpuForm(dtype, dtype)


def cpu_forecast(settings: Settings) -> str | None:
    """Return what an image should take on this CPU, with the CPU's speeds; None on a GPU and for small models."""
    model, choice = resolve_auto(settings).model, _choose(settings)
    if choice.speed is None:
        return None
    expected = forecast(model, _sizes(model, ModelPaths.of(settings)), choice.plan, choice.form, choice.speed)
    return f"{expected.describe()}; it computes in {choice.form.compute}, since this CPU does {choice.speed.describe()}"


def _speed_of_cpu(settings: Settings, model: CatalogueModel) -> CpuSpeed | None:
    """Return the speeds to choose by; None on a GPU and for models too small to matter."""
    from worker.device.cpu_probe import cpu_speed
    from worker.device.torch_device import resolve_device

    if resolve_device(settings.device).type != "cpu" or not is_measured(_sizes(model, ModelPaths.of(settings))):
        return None
    return cpu_speed(settings.resolved_models_dir)


def _plan_in(settings: Settings, model: CatalogueModel, form: CpuForm) -> MemoryPlan:
    from worker.device.torch_device import measure_machine, measure_text_device, resolve_device, resolve_text_device
    from worker.memory.plan import choose_plan

    device = resolve_device(settings.device)
    return choose_plan(
        model,
        _sizes(model, ModelPaths.of(settings)),
        form.stored,
        measure_machine(device, settings.device_memory_gb),
        settings.memory_policy,
        compute=form.compute,
        text=measure_text_device(resolve_text_device(settings.text_encoder_device, device)),
    )


def bytes_of_copies(settings: Settings) -> int:
    """Return the bytes that the planned tier's first load will write; 0 for a model whose weights are not on disk yet."""
    from worker.device.dtypes import DTYPES
    from worker.models.tier_reader import CopiesToMake

    model, model_paths = resolve_auto(settings).model, ModelPaths.of(settings)
    try:
        located = locate(model, model_paths)
    except RenderError:
        return 0
    choice = _choose(settings)
    files: dict[str, WeightFile] = {name: recognise(path) for name, path in located.files.items()}
    copies = CopiesToMake(located.directory, model.id, choice.plan.tier, DTYPES[choice.form.stored], model_paths, files)
    return copies.size(read_sizes(located.directory, model, located.files))


def _sizes(model: CatalogueModel, model_paths: ModelPaths) -> ModelSizes:
    try:
        located = locate(model, model_paths)
    except RenderError:
        return sizes_of_row(model)
    return read_sizes(located.directory, model, located.files)
