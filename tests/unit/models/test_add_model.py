"""`models add` and `remove`: what a source is, what is missing, which row it becomes; files stay untouched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from core.catalogue import ModelPaths, catalogue_of, is_present, locate, resolve_auto
from core.catalogue.add_model import AddOptions, add_model, remove_model
from core.catalogue.presence import problems_of
from core.errors import Conflict, FarmError, InvalidInput, NotFound, RenderError
from core.settings import Settings
from tests.unit.models import weight_samples as samples
from tests.unit.models.comfy_folder import write_comfy
from tests.unit.models.diffusers_folder import write_model


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def split(tmp_path: Path) -> Mapping[str, Path]:
    """Return a Z-Image in three files in three folders."""
    return {
        "transformer": samples.write_safetensors(tmp_path / "a" / "zImage_turbo.safetensors", samples.z_image()),
        "text_encoder": samples.write_safetensors(tmp_path / "b" / "qwen_3_4b.safetensors", samples.qwen3()),
        "vae": samples.write_safetensors(tmp_path / "c" / "ae.safetensors", samples.vae(16)),
    }


def refusal(settings: Settings, source: object, options: AddOptions | None = None) -> FarmError:
    with pytest.raises(FarmError) as caught:
        add_model(settings, str(source), options or AddOptions())
    return caught.value


def test_a_lone_transformer_says_what_is_missing_and_adds_nothing(settings: Settings, split: Mapping[str, Path]) -> None:
    error = refusal(settings, split["transformer"])
    assert error.code == "weights_incomplete"
    assert "Z-Image's transformer (bf16, " in error.message
    assert "a text encoder (Qwen3-4B" in error.message
    assert "a VAE (Flux.1's VAE" in error.message
    assert not settings.data_dir.exists()


def test_named_files_complete_a_model_which_is_used_at_once(settings: Settings, split: Mapping[str, Path]) -> None:
    named = {"text_encoder": split["text_encoder"], "vae": split["vae"]}
    before = catalogue_of(settings)
    added = add_model(settings, str(split["transformer"]), AddOptions("mine", named))  # type: ignore[arg-type]
    assert added.row.files == split
    assert any("its name says that it is Turbo" in sentence for sentence in added.sentences)
    catalogue = catalogue_of(settings)
    assert catalogue is not before
    assert catalogue.get("mine") == added.row
    assert catalogue.source_of("mine") == "added"


def test_files_next_to_it_and_in_the_comfy_folder_are_found(settings: Settings, tmp_path: Path) -> None:
    root = write_comfy(tmp_path / "comfy")
    added = add_model(settings, str(root / "unet" / "sub" / "z_image_turbo-Q8_0.gguf"), AddOptions())
    assert {path.name for path in added.row.files.values()} == {
        "z_image_turbo-Q8_0.gguf",
        "Qwen3-4B-Q6_K.gguf",
        "ae.safetensors",
    }


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("z_image_turbo_bf16", "z-image-turbo"),
        ("z_image_bf16", "z-image"),
        ("Z-Image-Base-Q8", "z-image"),
        ("moody_mix_v3", "z-image-turbo"),
    ],
)
def test_turbo_and_base_are_told_apart_by_name(name: str, base: str, settings: Settings, tmp_path: Path) -> None:
    everything = samples.z_image() | samples.qwen3(prefix="text_encoders.qwen3_4b.model.") | samples.vae(16, prefix="vae.")
    added = add_model(settings, str(samples.write_safetensors(tmp_path / f"{name}.safetensors", everything)), AddOptions())
    assert f"({base})" in added.sentences[-1]
    assert ("assumed" in added.sentences[-1]) == (name == "moody_mix_v3")


def test_metadata_tells_what_the_name_does_not(settings: Settings, tmp_path: Path) -> None:
    file = samples.write_safetensors(
        tmp_path / "x.safetensors", samples.checkpoint("sdxl"), {"modelspec.title": "SDXL Turbo"}
    )
    assert add_model(settings, str(file), AddOptions()).row.title == "x"
    assert catalogue_of(settings).get("x").defaults.num_inference_steps == 4


def test_an_sd2_base_predicts_noise_and_v_prediction_is_kept(settings: Settings, tmp_path: Path) -> None:
    low = samples.write_safetensors(tmp_path / "v2-1_512-ema.safetensors", samples.checkpoint("sd21"))
    high = samples.write_safetensors(tmp_path / "v2-1_768-ema.safetensors", samples.checkpoint("sd21"))
    noob = samples.write_safetensors(tmp_path / "noob.safetensors", samples.checkpoint("sdxl") | {"v_pred": ("F32", [])})
    rows = [add_model(settings, str(file), AddOptions()).row for file in (low, high, noob)]
    kinds = [row.scheduler.config["prediction_type"] for row in rows if row.scheduler]
    assert kinds == ["epsilon", "v_prediction", "v_prediction"]
    assert [row.defaults.width for row in rows] == [512, 768, 1024]


def test_other_files_are_refused_with_what_they_are(settings: Settings, tmp_path: Path, split: Mapping[str, Path]) -> None:
    root = write_comfy(tmp_path / "comfy")
    assert "A LoRA is no model" in refusal(settings, root / "loras" / "style.safetensors").message
    assert "An upscaler is no model" in refusal(settings, root / "upscale_models" / "x4.safetensors").message
    assert "--vae" in refusal(settings, split["vae"]).message
    assert "IMAGEFARM_WEIGHTS_DIRS=" in refusal(settings, root).message
    assert "web page" in refusal(settings, root / "loras" / "broken.safetensors").message
    assert "There is no file" in refusal(settings, tmp_path / "none.safetensors").message
    assert "model_index.json" in refusal(settings, tmp_path / "a").message
    wrong = AddOptions(named={"vae": split["text_encoder"]})
    assert "It cannot be this model's VAE" in refusal(settings, split["transformer"], wrong).message
    second = AddOptions(named={"text_encoder_2": split["text_encoder"]})
    assert "has no second text encoder" in refusal(settings, split["transformer"], second).message
    assert not settings.data_dir.exists()


def test_bad_names_and_bases_are_refused(settings: Settings, tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "x.safetensors", samples.checkpoint("sd15"))
    assert refusal(settings, file, AddOptions("../x")).code == "invalid_name"
    assert refusal(settings, file, AddOptions("sd15")).code == "model_exists"
    error = refusal(settings, file, AddOptions(base="sdxl"))
    assert error.code == "invalid_base"
    assert "lcm-sd15, sd15" in error.message
    assert refusal(settings, file, AddOptions(base="nope")).code == "unknown_model"
    add_model(settings, str(file), AddOptions())
    with pytest.raises(Conflict):
        add_model(settings, str(file), AddOptions())


def test_a_folder_and_the_hub_cache_become_models(settings: Settings, tmp_path: Path) -> None:
    added = add_model(settings, str(write_model(tmp_path / "My Z-Image")), AddOptions())
    assert (added.row.id, added.row.folder) == ("my-z-image", tmp_path / "My Z-Image")
    assert locate(added.row, ModelPaths.of(settings)).origin == "folder"
    cache = tmp_path / "hub" / "models--someone--Anime-Z"
    write_model(cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    for source, name in (("someone/Anime-Z", None), (str(cache), "again")):
        row = add_model(settings, source, AddOptions(name)).row
        assert (row.weights.repo, locate(row, ModelPaths.of(settings)).origin) == ("someone/Anime-Z", "hub_cache")


def test_a_repository_is_added_without_asking_the_hub(settings: Settings) -> None:
    added = add_model(settings, "RunDiffusion/Juggernaut-XL-sdxl", AddOptions())
    assert added.row.weights.repo == "RunDiffusion/Juggernaut-XL-sdxl"
    assert f"imagefarm models pull {added.row.id}" in added.sentences[-1]
    assert refusal(settings, "someone/something").code == "base_needed"
    assert add_model(settings, "someone/something", AddOptions(base="sd15")).row.architecture == "sd15"
    with pytest.raises(RenderError, match="imagefarm models pull something"):
        locate(catalogue_of(settings).get("something"), ModelPaths.of(settings))


def test_copies_go_into_the_models_folder(settings: Settings, tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "x.safetensors", samples.checkpoint("sd15"))
    row = add_model(settings, str(file), AddOptions(copy=True)).row
    copy = settings.resolved_models_dir / "x" / "files" / "x.safetensors"
    assert set(row.files.values()) == {copy}
    assert copy.read_bytes() == file.read_bytes()
    assert [path.name for path in copy.parent.iterdir()] == ["x.safetensors"]


def test_removing_keeps_files_and_says_so(settings: Settings, tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "x.safetensors", samples.checkpoint("sd15"))
    add_model(settings, str(file), AddOptions())
    sentences = " ".join(remove_model(settings, "x"))
    assert f"Its files stay: {file}" in sentences
    assert file.is_file()
    with pytest.raises(InvalidInput):
        catalogue_of(settings).get("x")
    with pytest.raises(NotFound):
        remove_model(settings, "x")
    with pytest.raises(InvalidInput, match="ships"):
        remove_model(settings, "sd15")


def test_a_found_model_cannot_be_removed_but_says_how(tmp_path: Path) -> None:
    root = write_comfy(tmp_path / "comfy")
    settings = Settings(data_dir=tmp_path / "data", weights_dirs=[root])
    with pytest.raises(InvalidInput, match=r"move .*Dream Shaper_8\.safetensors away"):
        remove_model(settings, "dream-shaper-8")


def test_an_added_file_is_not_found_a_second_time(tmp_path: Path) -> None:
    root = write_comfy(tmp_path / "comfy")
    settings = Settings(data_dir=tmp_path / "data", weights_dirs=[root])
    add_model(settings, str(root / "checkpoints" / "Dream Shaper_8.safetensors"), AddOptions("dream"))
    assert "dream-shaper-8" not in [model.id for model in catalogue_of(settings)]


def test_files_are_located_with_the_shipped_configurations(
    settings: Settings, tmp_path: Path, split: Mapping[str, Path]
) -> None:
    pytest.importorskip("core.catalogue.configs")
    named = {"text_encoder": split["text_encoder"], "vae": split["vae"]}
    row = add_model(settings, str(split["transformer"]), AddOptions("mine", named)).row  # type: ignore[arg-type]
    located = locate(row, ModelPaths.of(settings))
    assert (located.origin, located.files) == ("files", split)
    assert (located.directory / "model_index.json").is_file()
    assert resolve_auto(settings).model.id == "mine"


def test_moved_damaged_and_wrong_files_are_named(settings: Settings, split: Mapping[str, Path]) -> None:
    named = {"text_encoder": split["text_encoder"], "vae": split["vae"]}
    row = add_model(settings, str(split["transformer"]), AddOptions("mine", named)).row  # type: ignore[arg-type]
    paths = ModelPaths.of(settings)
    split["vae"].unlink()
    split["text_encoder"].write_bytes(split["text_encoder"].read_bytes()[:-1])
    found = problems_of(row, paths)
    assert len(found) == 2
    assert any("qwen_3_4b.safetensors is cut off" in problem for problem in found)
    assert any("ae.safetensors" in problem for problem in found)
    assert not is_present(row, paths)
    with pytest.raises(RenderError, match=r"Correct its paths in models\.toml") as caught:
        locate(row, paths)
    assert caught.value.code == "model_unavailable"
    swapped = row.model_copy(
        update={"files": {**row.files, "vae": split["transformer"], "text_encoder": split["transformer"]}}
    )
    assert any("mine needs a VAE there" in problem for problem in problems_of(swapped, paths))
    foreign = samples.write_safetensors(split["vae"], samples.vae(4))
    mixed = row.model_copy(update={"files": {**row.files, "vae": foreign}})
    assert any("a VAE of the Stable Diffusion family" in problem for problem in problems_of(mixed, paths))
    partial = row.model_copy(update={"files": {"transformer": split["transformer"]}})
    assert "no file is named for the VAE" in problems_of(partial, paths)


def test_a_damaged_catalogue_keeps_shipped_models_and_is_named(settings: Settings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "models.toml").write_text("[[model]]\nid =\n")
    catalogue = catalogue_of(settings)
    assert "z-image-turbo" in [model.id for model in catalogue]
    with pytest.raises(InvalidInput, match="line 2"):
        catalogue.get("mine")
    (settings.data_dir / "models.toml").write_text('[[model]]\nid = "mine"\nbase = "sd15"\nfolder = "/x"\n')
    assert catalogue_of(settings).get("mine").folder == Path("/x")
