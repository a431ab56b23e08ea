"""ComfyUI's templates become steps; what has no counterpart here is refused as ComfyUI refuses, naming the node."""

from __future__ import annotations

from typing import Any

import pytest

from core.comfyui import GraphRefused, Plan, checked_graph, read_graph, with_joined_samplers
from core.comfyui.node_kinds import NODES, object_info
from core.comfyui.plan import Enlarge, Render, Start
from tests import comfyui_graphs as graphs
from tests.comfyui_graphs import Graph, node, sampler

LISTS = {
    "checkpoints": ("demo.safetensors", "v1-5-pruned-emaonly-fp16.safetensors", "sd_xl_base_1.0.safetensors"),
    "diffusion_models": ("z_image_turbo_bf16.safetensors",),
    "text_encoders": ("qwen_3_4b.safetensors",),
    "vae": ("ae.safetensors",),
    "loras": ("ink.safetensors", "sub/pixel.safetensors"),
    "upscale_models": ("RealESRGAN_x4plus.pth", "2x-sharp.pth"),
    "images": ("photo.png",),
}


def read(graph: Graph, lists: dict[str, Any] = LISTS) -> Plan:
    return read_graph(checked_graph(graph, lists), {"photo.png": (96, 64)})


def render(plan: Plan, step: int = 0) -> Render:
    work = plan.steps[step].work
    assert isinstance(work, Render)
    return work


def refused(graph: Graph) -> GraphRefused:
    with pytest.raises(GraphRefused) as caught:
        read(graph)
    return caught.value


def only_error(graph: Graph) -> tuple[str, str, str]:
    """Return the node, type and text of the one error of a refused graph."""
    errors = refused(graph).node_errors
    ((name, found),) = errors.items()
    (error,) = found["errors"]
    return name, error["type"], f"{error['message']} {error['details']}"


def test_the_first_template_is_one_text_to_image_step() -> None:
    plan = read(graphs.checkpoint_template())
    work = render(plan)
    assert (work.loader, work.prompt, work.negative_prompt) == (
        ("checkpoints", "v1-5-pruned-emaonly-fp16.safetensors"), "beautiful scenery nature glass bottle", "text, watermark",
    )  # fmt: skip
    assert (work.seed, work.steps, work.guidance, work.width, work.height) == (685468484323813, 20, 8.0, 512, 512)
    assert (work.strength, plan.steps[0].start, work.count) == (None, None, 1)
    assert plan.steps[0].nodes[-1] == plan.steps[0].node == "3"
    assert (plan.outputs[0].node, plan.outputs[0].nodes, plan.outputs[0].prefix) == ("9", ("8", "9"), "SD1.5")
    assert read(graphs.checkpoint_template("sd_xl_base_1.0.safetensors", 1024, 4)).steps[0].work == Render(
        **{**vars(work), "loader": ("checkpoints", "sd_xl_base_1.0.safetensors"), "width": 1024, "height": 1024, "count": 4}
    )


def test_the_z_image_template_is_read_through_its_subgraph() -> None:
    plan = read(graphs.z_image_template())
    work = render(plan)
    assert work.loader == ("diffusion_models", "z_image_turbo_bf16.safetensors")
    assert (work.prompt, work.negative_prompt) == ("harbor boats and pastel houses., family friendly", "")
    assert (work.shift, work.text_encoders, work.vae) == (3.0, ("qwen_3_4b.safetensors",), "ae.safetensors")
    assert "joins its texts" in plan.steps[0].warnings[0]


def test_hires_by_latents_is_a_second_step_over_the_first_ones_images() -> None:
    plan = read(graphs.latent_hires_template(batch=2))
    assert [step.node for step in plan.steps] == ["3", "11"]
    first, second = render(plan), render(plan, 1)
    assert (second.width, second.height, second.strength, second.count) == (128, 128, 0.5, 2)
    assert (plan.steps[1].start, first.count, second.upscaler) == (Start(step=0), 2, None)
    assert [(output.node, output.step) for output in plan.outputs] == [("9", 0), ("12", 1)]
    assert "instead of the latents" in plan.steps[1].warnings[0]


def test_hires_by_a_network_enlarges_within_the_second_step() -> None:
    plan = read(graphs.network_hires_template())
    second = render(plan, 1)
    assert (second.upscaler, second.width, second.height) == ("RealESRGAN_x4plus.pth", 128, 128)
    assert [(output.node, output.is_temporary) for output in plan.outputs] == [("9", True), ("12", False)]
    run = [name for step in plan.steps for name in step.nodes] + [name for each in plan.outputs for name in each.nodes]
    assert sorted(run) == sorted(graphs.network_hires_template()), "each node runs once"


def test_image_to_image_and_inpainting_start_from_the_loaded_image() -> None:
    plan = read(graphs.image_to_image("photo.png"))
    assert (plan.steps[0].start, render(plan).strength, render(plan).width, render(plan).height) == (
        Start(upload="photo.png"), 0.5, 96, 64,
    )  # fmt: skip
    masked = render(read(graphs.inpaint("photo.png")))
    assert (masked.mask, masked.grow_mask_by, masked.strength) == ("photo.png", 6, 1)
    scaled = graphs.image_to_image("photo.png") | {
        "20": node("ImageScaleBy", upscale_method="lanczos", scale_by=2, image=["10", 0]),
        "12": node("VAEEncode", pixels=["20", 0], vae=["4", 2]),
    }
    assert (render(read(scaled)).width, render(read(scaled)).height) == (192, 128)


def test_loras_of_both_loaders_are_taken() -> None:
    graph = graphs.checkpoint_template(model=["11", 0]) | {
        "10": node(
            "LoraLoader", lora_name="ink.safetensors", strength_model=0.8, strength_clip=0.5, model=["4", 0], clip=["4", 1]
        ),
        "11": node("LoraLoaderModelOnly", lora_name="sub\\pixel.safetensors", strength_model=1, model=["10", 0]),
        "6": node("CLIPTextEncode", text="a (fox:1.3)", clip=["10", 1]),
    }
    plan = read(graph)
    assert render(plan).loras == (("sub\\pixel.safetensors", 1.0), ("ink.safetensors", 0.8))
    assert any("strength_clip" in text for text in plan.steps[0].warnings)
    assert any("Weights such as" in text for text in plan.steps[0].warnings)


def test_a_finished_image_is_enlarged_by_the_networks_factor() -> None:
    plan = read(graphs.enlarged())
    assert (plan.steps[1].work, plan.steps[1].start) == (Enlarge("RealESRGAN_x4plus.pth", 4), Start(step=0))
    assert read(graphs.enlarged(network="2x-sharp.pth")).steps[1].work == Enlarge("2x-sharp.pth", 2)
    halved = graphs.enlarged() | {
        "16": node("ImageScaleBy", upscale_method="lanczos", scale_by=0.5, image=["15", 0]),
        "9": node("SaveImage", filename_prefix="x", images=["16", 0]),
    }
    assert read(halved).steps[1].work == Enlarge("RealESRGAN_x4plus.pth", 2)
    upload = {
        "1": node("LoadImage", image="photo.png"),
        "2": node("ImageScaleBy", upscale_method="lanczos", scale_by=3, image=["1", 0]),
        "3": node("PreviewImage", images=["2", 0]),
    }
    assert read(upload).steps[0].work == Enlarge(None, 3)
    upload["2"]["inputs"]["scale_by"] = 1.5
    assert "2, 3 or 4 times" in only_error(upload)[2]


def test_an_unknown_node_and_a_missing_file_are_named_as_comfyui_names_them() -> None:
    graph = graphs.checkpoint_template() | {"20": node("ControlNetApply", image=["8", 0])}
    error = refused(graph)
    assert error.error.type == "missing_node_type"
    assert "ControlNetApply" in error.error.message
    assert (error.node_errors["20"]["class_type"], list(error.node_errors)) == ("ControlNetApply", ["20"])
    name, kind, text = only_error(graphs.checkpoint_template("gone.safetensors"))
    assert (name, kind) == ("4", "value_not_in_list")
    assert "ckpt_name: 'gone.safetensors' not in ['demo.safetensors'" in text
    missing = refused(graphs.checkpoint_template("gone.safetensors"))
    assert missing.error.type == "prompt_outputs_failed_validation"
    assert missing.node_errors["4"]["dependent_outputs"] == ["9"]
    assert only_error(graphs.image_to_image("other.png"))[1:] == (
        "custom_validation_failed", "Custom validation failed for node image - Invalid image file: other.png",
    )  # fmt: skip


WRONG: dict[str, tuple[Graph, str, str]] = {
    "a missing input": ({"3": node("KSampler", model=["4", 0])}, "3", "required_input_missing"),
    "a link to nothing": ({"8": node("VAEDecode", samples=["99", 0], vae=["4", 2])}, "8", "bad_linked_input"),
    "a link to no output": ({"8": node("VAEDecode", samples=["3", 5], vae=["4", 2])}, "8", "bad_linked_input"),
    "a link of another type": ({"8": node("VAEDecode", samples=["4", 2], vae=["4", 2])}, "8", "return_type_mismatch"),
    "a value for a link": ({"8": node("VAEDecode", samples=5, vae=["4", 2])}, "8", "bad_linked_input"),
    "no number": ({"3": sampler(steps="many")}, "3", "invalid_input_type"),
    "not a number": ({"3": sampler(cfg=float("nan"))}, "3", "value_bigger_than_max"),
    "too few": ({"3": sampler(steps=0)}, "3", "value_smaller_than_min"),
    "too many": ({"3": sampler(denoise=1.5)}, "3", "value_bigger_than_max"),
    "no such sampler": ({"3": sampler(sampler_name="nope")}, "3", "value_not_in_list"),
    "a number for a text": ({"6": node("CLIPTextEncode", text=5, clip=["4", 1])}, "6", "invalid_input_type"),
    "part of the noise without an image": ({"3": sampler(denoise=0.5)}, "3", "unsupported_wiring"),
    "nothing sampled": ({"8": node("VAEDecode", samples=["5", 0], vae=["4", 2])}, "8", "unsupported_wiring"),
    "another checkpoint's VAE": (
        {
            "20": node("CheckpointLoaderSimple", ckpt_name="demo.safetensors"),
            "8": node("VAEDecode", samples=["3", 0], vae=["20", 2]),
        },
        "8",
        "unsupported_wiring",
    ),
    "another checkpoint's text encoder": (
        {
            "20": node("CheckpointLoaderSimple", ckpt_name="demo.safetensors"),
            "6": node("CLIPTextEncode", text="x", clip=["20", 1]),
        },
        "6",
        "unsupported_wiring",
    ),
    "a sampler that ends early": (
        {
            "3": node(
                "KSamplerAdvanced",
                **{name: value for name, value in sampler()["inputs"].items() if name not in ("seed", "denoise")},
                add_noise="enable", noise_seed=1, start_at_step=0, end_at_step=15, return_with_leftover_noise="enable",
            )
        },
        "3",
        "unsupported_wiring",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_graphs_are_refused_at_the_node(case: str) -> None:
    changes, name, kind = WRONG[case]
    errors = refused(graphs.checkpoint_template() | changes).node_errors
    assert list(errors) == [name]
    assert {error["type"] for error in errors[name]["errors"]} == {kind}


def test_a_whole_advanced_sampler_is_a_sampler() -> None:
    values = {name: value for name, value in sampler()["inputs"].items() if name not in ("seed", "denoise")}
    rest = {"add_noise": "enable", "noise_seed": 7, "end_at_step": 10_000, "return_with_leftover_noise": "disable"}
    whole = graphs.checkpoint_template() | {"3": node("KSamplerAdvanced", **values, **rest, start_at_step=0)}
    assert (render(read(whole)).seed, render(read(whole)).strength) == (7, None)
    late = graphs.image_to_image("photo.png") | {
        "3": node("KSamplerAdvanced", **values | {"latent_image": ["12", 0]}, **rest, start_at_step=5)
    }
    assert render(read(late)).strength == 0.75


def test_cycles_end_and_other_outputs_are_kept() -> None:
    cycle = graphs.checkpoint_template() | {
        "20": node("LatentUpscaleBy", samples=["21", 0], upscale_method="bislerp", scale_by=2),
        "21": node("LatentUpscaleBy", samples=["20", 0], upscale_method="bislerp", scale_by=2),
        "22": node("VAEDecode", samples=["20", 0], vae=["4", 2]),
        "23": node("PreviewImage", images=["22", 0]),
    }
    plan = read(cycle)
    assert [output.node for output in plan.outputs] == ["9"]
    assert plan.node_errors["20"]["errors"][0]["type"] == "dependency_cycle"
    assert plan.node_errors["20"]["dependent_outputs"] == ["23"]
    assert refused({"4": node("CheckpointLoaderSimple", ckpt_name="demo.safetensors")}).error.type == "prompt_no_outputs"


@pytest.mark.parametrize(
    "given", [None, [], {}, "x", {"1": 5}, {"1": {"inputs": {}}}, {"1": {"class_type": "X", "inputs": []}}]
)
def test_what_is_no_graph_is_refused(given: object) -> None:
    with pytest.raises(GraphRefused):
        checked_graph(given, LISTS)


def test_long_chains_and_large_graphs_are_bounded() -> None:
    chain = graphs.checkpoint_template() | {
        str(100 + number): sampler(denoise=0.5, latent_image=[str(99 + number) if number else "3", 0])
        for number in range(40)
    }
    chain["8"]["inputs"]["samples"] = ["139", 0]
    assert "at most 16" in only_error(chain)[2]
    with pytest.raises(GraphRefused, match="at most 250"):
        checked_graph({str(number): node("PreviewImage") for number in range(251)}, LISTS)


def test_object_info_has_comfyuis_shape() -> None:
    info = object_info("CheckpointLoaderSimple", LISTS)
    assert info["input"]["required"]["ckpt_name"][0] == list(LISTS["checkpoints"])
    assert (info["output"], info["output_node"]) == (["MODEL", "CLIP", "VAE"], False)
    assert object_info("KSampler", LISTS)["input"]["required"]["steps"][:1] == ["INT"]
    assert object_info("CLIPLoader", LISTS)["input_order"]["optional"] == ["device"]
    assert {name for name in NODES if object_info(name, LISTS)["output_node"]} == {"SaveImage", "PreviewImage"}


def test_texts_that_are_joined_with_themselves_are_bounded() -> None:
    """Each of 40 nodes joins the one before it with itself: 2 ** 40 texts."""
    graph = graphs.checkpoint_template()
    for number in range(40):
        last = [f"c{number - 1}" if number else "6", 0]
        graph[f"c{number}"] = node("ConditioningCombine", conditioning_1=last, conditioning_2=last)
    graph["3"]["inputs"]["positive"] = ["c39", 0]
    assert "At most 100 texts" in only_error(graph)[2]
    graph["3"]["inputs"]["positive"] = ["c5", 0]
    assert render(read(graph)).prompt.count("glass bottle") == 64
    graph["6"]["inputs"]["text"] = "x" * 300_000
    assert "At most 100 texts" in only_error(graph)[2]


def test_a_node_with_too_many_inputs_is_refused() -> None:
    graph = graphs.checkpoint_template()
    graph["3"]["inputs"] |= {f"more{number}": ["4", 0] for number in range(250)}
    assert "too many inputs" in str(refused(graph))


def test_the_refiner_of_the_sdxl_template_is_joined_with_the_base() -> None:
    given = graphs.refiner_template()
    joined, (said,) = with_joined_samplers(given)
    assert said == (
        "KSamplerAdvanced 11 (sd_xl_refiner_1.0.safetensors) is joined with KSamplerAdvanced 10: one model renders all 25 "
        "steps, and its own model, positive, negative have no effect."
    )
    work = render(read(dict(joined)))
    assert (work.loader, work.steps, work.strength) == (("checkpoints", "sd_xl_base_1.0.safetensors"), 25, None)
    assert given == graphs.refiner_template(), "the client's graph is kept as it was"


def test_only_a_sampler_that_continues_another_is_joined() -> None:
    changes: dict[str, dict[str, Any]] = {
        "another step": {"start_at_step": 19},
        "other steps": {"steps": 30},
        "new noise": {"add_noise": "enable"},
        "itself": {"latent_image": ["11", 0]},
        "a value for a link": {"latent_image": 5},
    }
    for inputs in changes.values():
        graph = graphs.refiner_template()
        graph["11"]["inputs"] |= inputs
        assert with_joined_samplers(graph) == (graph, [])
    seen = graphs.refiner_template() | {"20": node("VAEDecode", samples=["10", 0], vae=["4", 2])}
    assert with_joined_samplers(seen) == (seen, []), "something else reads the unfinished latents"
    nonsense = {"11": 5, "10": {"class_type": "KSamplerAdvanced", "inputs": []}, "9": {"inputs": None}}
    assert with_joined_samplers(nonsense) == (nonsense, [])
