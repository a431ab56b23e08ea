"""Pull from a hub on loopback: selection, resuming, refusals, and a copy that renders the same images."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from core.catalogue import ModelPaths, locate
from core.errors import Conflict, Forbidden, InvalidInput, NotFound, RenderError, Unavailable
from tests.integration.models.conftest import catalogue_row
from tests.integration.models.hub_server import COMMIT, HubServer
from tests.integration.models.rendering import render
from tests.unit.models.diffusers_folder import write_hub_snapshot
from worker.models.load import LoadRequest, load_pipeline
from worker.models.pull import PullOptions, PullProgress, pull
from worker.models.pull import download as downloading
from worker.models.pull.repository import Hub

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
TURBO = catalogue_row("z-image-turbo")
LCM = catalogue_row("lcm-sd15")
BIG = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def no_retry_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without pauses, and without the user's token."""
    monkeypatch.setattr(downloading, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", "/nonexistent")
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def bare(tmp_path: Path) -> ModelPaths:
    """Return paths at which there are no models."""
    return ModelPaths(tmp_path / "models", {}, tmp_path / "hub")


@pytest.fixture
def hub(tiny_models: dict[str, Path], tmp_path: Path) -> Iterator[HubServer]:
    """Serve the tiny models of Turbo and LCM as repositories, with files that a pull does not need."""
    turbo, lcm = tmp_path / "turbo", tmp_path / "lcm"
    shutil.copytree(tiny_models["z-image-turbo"], turbo)
    (turbo / "README.md").write_text("hello")
    (turbo / "transformer" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(bytes(5))
    shutil.copytree(tiny_models["lcm-sd15"], lcm)
    lora = LCM.loras[0]
    repos = {
        TURBO.weights.repo: turbo,
        LCM.weights.repo: lcm,
        lora.repo: lcm / "loras" / lora.repo.replace("/", "--"),
    }
    with HubServer(repos) as server:
        yield server


def options(hub: HubServer, *, keep_download: bool = False, again: bool = False) -> PullOptions:
    """Return options to pull from that hub."""
    return PullOptions(hub=Hub(hub.url), keep_download=keep_download, again=again)


def ignore(_: PullProgress) -> None:
    """Discard progress."""


def test_a_pulled_model_renders_the_same_images_as_its_source(
    hub: HubServer, bare: ModelPaths, model_paths: ModelPaths
) -> None:
    done = pull(TURBO, bare, options(hub), ignore)
    assert done.marker is not None
    assert (done.marker.revision, done.marker.dtype, done.marker.origin) == (COMMIT, "bfloat16", "hub")
    assert locate(TURBO, bare).origin == "models_dir"
    pulled = load_pipeline(TURBO, LoadRequest(bare, "cpu"), lambda *_: None)
    source = load_pipeline(TURBO, LoadRequest(model_paths, "cpu"), lambda *_: None)
    assert np.array_equal(render(pulled.pipeline), render(source.pipeline))


def test_only_needed_files_are_fetched_and_the_download_is_deleted(hub: HubServer, bare: ModelPaths) -> None:
    done = pull(TURBO, bare, options(hub), ignore)
    names = {path.name for path in done.directory.rglob("*")}
    assert "README.md" not in names
    assert not any("fp16" in name for name in names)
    assert not (bare.models_dir / ".downloads" / TURBO.id).exists()


def test_the_download_is_kept_on_request(hub: HubServer, bare: ModelPaths) -> None:
    pull(TURBO, bare, options(hub, keep_download=True), ignore)
    assert (bare.models_dir / ".downloads" / TURBO.id / BIG).exists()


def test_a_models_lora_is_pulled_with_it(hub: HubServer, bare: ModelPaths) -> None:
    pull(LCM, bare, options(hub), ignore)
    loaded = load_pipeline(LCM, LoadRequest(bare, "cpu"), lambda *_: None)
    assert loaded.located.origin == "models_dir"
    assert len(loaded.located.loras) == 1


def test_a_second_pull_does_nothing_unless_requested(hub: HubServer, bare: ModelPaths) -> None:
    pull(TURBO, bare, options(hub), ignore)
    sent = hub.sent_bytes
    assert pull(TURBO, bare, options(hub), ignore).already_here
    assert hub.sent_bytes == sent
    assert not pull(TURBO, bare, options(hub, again=True), ignore).already_here
    assert hub.sent_bytes > sent


def test_a_broken_connection_is_resumed(hub: HubServer, bare: ModelPaths) -> None:
    hub.cut_after[BIG] = 1_000_000
    pull(TURBO, bare, options(hub), ignore)
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for path, asked in hub.ranges if path == BIG]
    assert starts
    assert all(0 < start <= 1_000_000 for start in starts)


def test_another_process_resumes_a_killed_download(hub: HubServer, bare: ModelPaths, tmp_path: Path) -> None:
    hub.cut_after[BIG] = 1_000_000
    program = """
import os, sys
from pathlib import Path
from core.catalogue import ModelPaths, load_catalogue
from worker.models.pull import PullOptions, pull
from worker.models.pull.repository import Hub
def watch(progress):
    if progress.stage == "downloading" and progress.done_bytes > 900_000:
        os._exit(9)
root, url = sys.argv[1:]
model_paths = ModelPaths(Path(root) / "models", {}, Path(root) / "hub")
pull(load_catalogue().get("z-image-turbo"), model_paths, PullOptions(hub=Hub(url)), watch)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path), hub.url], check=False)
    assert killed.returncode == 9
    hub.cut_after.clear()
    hub.ranges.clear()
    sent = hub.sent_bytes
    pull(TURBO, bare, options(hub), ignore)
    assert [path for path, _ in hub.ranges] == [BIG]
    assert hub.sent_bytes - sent < 2_000_000


def test_progress_ends_at_the_total(hub: HubServer, bare: ModelPaths) -> None:
    hub.cut_after[BIG] = 500_000
    events: list[PullProgress] = []
    pull(TURBO, bare, options(hub), events.append)
    stages = ["listing", "downloading", "converting", "hashing", "done"]
    assert list(dict.fromkeys(progress.stage for progress in events)) == stages
    for stage in stages[1:-1]:
        last = [progress for progress in events if progress.stage == stage][-1]
        assert last.done_bytes == last.total_bytes > 0


def test_truncated_responses_fail_after_retries(hub: HubServer, bare: ModelPaths) -> None:
    hub.short.add(BIG)
    with pytest.raises(Unavailable, match="ended early"):
        pull(TURBO, bare, options(hub), ignore)


def test_damaged_files_are_deleted(hub: HubServer, bare: ModelPaths) -> None:
    hub.corrupt.add(BIG)
    with pytest.raises(Unavailable, match="arrived damaged"):
        pull(TURBO, bare, options(hub), ignore)
    hub.corrupt.clear()
    pull(TURBO, bare, options(hub), ignore)
    assert locate(TURBO, bare).origin == "models_dir"


def test_the_error_for_a_gated_file_states_the_remedy(hub: HubServer, bare: ModelPaths) -> None:
    hub.refused.add(BIG)
    with pytest.raises(Forbidden, match="accept the model's licence"):
        pull(TURBO, bare, options(hub), ignore)


def test_the_error_for_an_unreachable_hub_states_the_remedy(bare: ModelPaths) -> None:
    with pytest.raises(Unavailable, match=r"cannot be reached .* --from PATH") as caught:
        pull(TURBO, bare, PullOptions(hub=Hub("http://127.0.0.1:9")), ignore)
    assert caught.value.code == "hub_unavailable"


def test_the_error_in_offline_mode_names_the_variable(bare: ModelPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE is set"):
        pull(TURBO, bare, PullOptions(), ignore)


def test_a_missing_repository_is_not_found(hub: HubServer, bare: ModelPaths) -> None:
    with pytest.raises(NotFound) as caught:
        pull(catalogue_row("z-image"), bare, options(hub), ignore)
    assert caught.value.code == "hub_not_found"


def test_a_full_disk_is_refused_before_the_download(
    hub: HubServer, bare: ModelPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.models.folders.SPARE_BYTES", 10**18)
    with pytest.raises(Conflict) as caught:
        pull(TURBO, bare, options(hub), ignore)
    assert caught.value.code == "not_enough_disk"
    assert hub.sent_bytes < 1000


def test_a_concurrent_pull_of_the_same_model_is_refused(hub: HubServer, bare: ModelPaths) -> None:
    refused: list[str] = []

    def start_another(progress: PullProgress) -> None:
        if progress.stage == "downloading" and not refused:
            with pytest.raises(Conflict) as caught:
                pull(TURBO, bare, options(hub), ignore)
            refused.append(caught.value.code)

    pull(TURBO, bare, options(hub), start_another)
    assert refused == ["pull_running"]


def test_a_folder_is_imported(bare: ModelPaths, tiny_models: dict[str, Path], model_paths: ModelPaths) -> None:
    done = pull(LCM, bare, PullOptions(source=tiny_models["lcm-sd15"]), ignore)
    assert done.marker is not None
    assert (done.marker.origin, done.marker.dtype) == ("folder", "float16")
    imported = load_pipeline(LCM, LoadRequest(bare, "cpu"), lambda *_: None)
    assert imported.pipeline.unet.dtype == imported.dtype
    assert tiny_models["lcm-sd15"].exists()


def test_the_hubs_cache_is_converted_without_a_download(bare: ModelPaths, tiny_models: dict[str, Path]) -> None:
    snapshot = write_hub_snapshot(bare.hub_cache, TURBO.weights.repo)
    shutil.copytree(tiny_models["z-image-turbo"], snapshot, dirs_exist_ok=True)
    done = pull(TURBO, bare, PullOptions(hub=Hub("http://127.0.0.1:9")), ignore)
    assert done.marker is not None
    assert (done.marker.origin, done.marker.revision) == ("hub", "abc123")
    assert snapshot.exists()


def test_a_folder_without_a_model_is_refused(bare: ModelPaths, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not in diffusers' layout"):
        pull(TURBO, bare, PullOptions(source=tmp_path), ignore)
    assert not bare.weights(TURBO.id).exists()


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
def test_a_folder_that_lacks_a_tensor_is_refused_with_its_name(
    part: str, bare: ModelPaths, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_models["lcm-sd15"], source)
    file = source / f"{part}.safetensors"
    tensors = load_file(file)
    lost = sorted(tensors)[-1]
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, file, {"format": "pt"})
    with pytest.raises(RenderError, match=f"{file} lack the tensor {lost}") as caught:
        pull(LCM, bare, PullOptions(source=source), ignore)
    assert caught.value.code == "model_unavailable"
    assert not bare.weights(LCM.id).exists()


def test_a_folder_of_another_model_is_refused(bare: ModelPaths, tiny_models: dict[str, Path]) -> None:
    with pytest.raises(InvalidInput, match="holds a StableDiffusionPipeline, but z-image-turbo is a ZImagePipeline"):
        pull(TURBO, bare, PullOptions(source=tiny_models["tiny-sd"]), ignore)


def test_pull_builds_the_demo(bare: ModelPaths) -> None:
    assert pull(catalogue_row("demo"), bare, PullOptions(), ignore).directory.is_dir()


HUGGINGFACE_HUB_DOWNLOAD = """
import os, sys
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import tqdm
class Progress(tqdm):
    received = 0
    def update(self, n=1):
        Progress.received += n
        if 0 < int(sys.argv[3]) <= Progress.received:
            os._exit(9)
hf_hub_download("org/model", "weights.safetensors", endpoint=sys.argv[1], local_dir=sys.argv[2], tqdm_class=Progress)
"""


def test_huggingface_hub_neither_resumes_nor_verifies(tmp_path: Path) -> None:
    """Fail once it does both: decision 12 then has no reason left, and the download code of our own can go."""
    repo, target = tmp_path / "repo", tmp_path / "target"
    repo.mkdir()
    (repo / "weights.safetensors").write_bytes(bytes(range(256)) * 160_000)
    with HubServer({"org/model": repo}) as hub:
        command = [sys.executable, "-c", HUGGINGFACE_HUB_DOWNLOAD, hub.url, str(target)]
        assert subprocess.run([*command, "20000000"], check=False, capture_output=True).returncode == 9
        subprocess.run([*command, "0"], check=True, capture_output=True)
        resumed = bool(hub.ranges)
        hub.corrupt.add("weights.safetensors")
        shutil.rmtree(target)
        verified = subprocess.run([*command, "0"], check=False, capture_output=True).returncode != 0
    assert not (resumed and verified)
