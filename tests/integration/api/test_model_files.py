"""Weight files over HTTP: listed, made into models, removed from the list, and no path of a request is ever opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.api_keys import Scope
from core.settings import Settings
from db.api_keys import NewKey, create_key
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide
from tests.unit.models.weight_samples import checkpoint, lora, qwen3, vae, write_safetensors, z_image

ZI, QWEN, AE = "diffusion_models/zi.safetensors", "text_encoders/qwen_3_4b.safetensors", "vae/ae.safetensors"


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Make two weights folders and a checkpoint outside; return the first folder."""
    first, second = tmp_path / "comfy", tmp_path / "more"
    write_safetensors(first / ZI, z_image())
    write_safetensors(first / QWEN, qwen3())
    write_safetensors(first / AE, vae(16))
    write_safetensors(first / "loras" / "style.safetensors", lora("layers.0.attention.to_q"))
    write_safetensors(first / "checkpoints" / "dream.safetensors", checkpoint("sd15"))
    write_safetensors(second / "checkpoints" / "old" / "dream.safetensors", checkpoint("sd15"))
    write_safetensors(tmp_path / "outside.safetensors", checkpoint("sd15"))
    return first


@pytest.fixture
def settings(make_settings: SettingsMaker, weights: Path) -> Settings:
    return make_settings(weights_dirs=[weights, weights.parent / "more"])


def refusal(api: httpx.Client, **fields: object) -> tuple[int, str, str]:
    answer = api.post("/v1/models", json=fields)
    return answer.status_code, answer.json()["code"], answer.json()["detail"]


def test_files_are_listed_with_what_they_are_and_who_uses_them(api: httpx.Client, weights: Path) -> None:
    listed = api.get("/v1/models/files").json()
    files = {(each["folder"], each["path"]): each for each in listed["items"]}
    assert len(files) == 6
    found = files[str(weights), ZI]
    assert (found["purpose"], found["kind"], found["architectures"]) == ("diffusion_models", "component", ["z-image"])
    assert found["size_bytes"] == (weights / ZI).stat().st_size
    assert found["models"] == ["zi"]
    assert files[str(weights), QWEN]["models"] == ["zi"]
    assert files[str(weights), "loras/style.safetensors"]["kind"] == "lora"


def test_a_model_is_added_from_listed_files_and_removed_without_them(
    api: httpx.Client, weights: Path, settings: Settings
) -> None:
    made = api.post("/v1/models", json={"path": ZI, "name": "mine", "text_encoder": "qwen_3_4b.safetensors", "vae": AE})
    assert made.status_code == httpx.codes.CREATED, made.text
    assert made.headers["Location"] == "/v1/models/mine"
    body = made.json()
    assert (body["model"]["id"], body["model"]["family"]) == ("mine", "z-image")
    assert any("Z-Image" in sentence for sentence in body["sentences"])
    assert "mine" in [each["id"] for each in api.get("/v1/models").json()["data"]]
    assert str(weights / QWEN) in (settings.data_dir / "models.toml").read_text()
    assert refusal(api, path=ZI, name="mine")[:2] == (httpx.codes.CONFLICT, "model_exists")

    pull = api.post("/v1/models/mine/pull")
    assert (pull.status_code, pull.json()["code"]) == (httpx.codes.CONFLICT, "weights_not_pulled")
    kept = api.delete("/v1/models/mine?weights=true")
    assert (kept.status_code, kept.json()["code"]) == (httpx.codes.CONFLICT, "weights_not_pulled")
    assert api.delete("/v1/models/mine").status_code == httpx.codes.NO_CONTENT
    assert "mine" not in [each["id"] for each in api.get("/v1/models").json()["data"]]
    assert (weights / ZI).exists()
    found = api.delete("/v1/models/zi")
    assert (found.status_code, found.json()["code"]) == (httpx.codes.CONFLICT, "model_found")


def test_a_repository_is_added_by_name_alone(api: httpx.Client, settings: Settings) -> None:
    made = api.post("/v1/models", json={"repo": "Lykon/dreamshaper-8", "base": "sd-turbo"})
    assert made.status_code == httpx.codes.CREATED, made.text
    assert api.post("/v1/models/dreamshaper-8/pull").json()["kind"] == "pull"
    for repo in ("../../etc", "/etc/passwd", "a/b/c", "~/x", "a/../b"):
        assert refusal(api, repo=repo, base="sd-turbo")[:2] == (httpx.codes.UNPROCESSABLE_ENTITY, "invalid_name"), repo


def test_paths_that_are_not_listed_get_one_answer_whether_they_exist_or_not(api: httpx.Client, weights: Path) -> None:
    outside = weights.parent / "outside.safetensors"
    (weights / "vae" / ".hidden.safetensors").symlink_to(outside)
    texts = {
        refusal(api, path=path)
        for path in (
            str(outside),
            str(weights.parent / "nothing.safetensors"),
            "../outside.safetensors",
            "checkpoints/../../outside.safetensors",
            f"{weights}/checkpoints/../../outside.safetensors",
            "vae/.hidden.safetensors",
            "/etc/passwd",
            "/etc",
            "~/.ssh/id_rsa",
            "file:///etc/passwd",
            str(weights),
            "checkpoints",
            ".",
            "",
        )
    }
    assert len(texts) == 1
    status, code, detail = texts.pop()
    assert (status, code) == (httpx.codes.UNPROCESSABLE_ENTITY, "file_not_listed")
    assert "IMAGEFARM_WEIGHTS_DIRS" in detail
    for field in ("text_encoder", "vae"):
        assert refusal(api, path=ZI, **{field: str(outside)})[1] == "file_not_listed"


def test_unclear_and_unfit_requests_are_refused_with_what_to_do(api: httpx.Client, weights: Path) -> None:
    status, code, detail = refusal(api, path="dream.safetensors")
    assert (status, code) == (httpx.codes.UNPROCESSABLE_ENTITY, "file_not_listed")
    assert str(weights / "checkpoints" / "dream.safetensors") in detail
    assert api.post("/v1/models", json={"path": "checkpoints/dream.safetensors"}).status_code == httpx.codes.CREATED
    assert refusal(api, path="style.safetensors")[1] == "weights_not_a_model"
    assert refusal(api, path=ZI, repo="a/b")[0] == httpx.codes.UNPROCESSABLE_ENTITY
    assert refusal(api)[0] == httpx.codes.UNPROCESSABLE_ENTITY
    for name in ("files", "operations", "../x", "A b"):
        assert refusal(api, path=ZI, name=name)[1] == "invalid_name", name


@pytest.fixture
def reader(api: httpx.Client, worker: WorkerSide) -> Iterator[httpx.Client]:
    """Provide a client that may read and submit only."""
    key = create_key(worker.database, NewKey("other", scopes=(Scope.SUBMIT, Scope.READ_ALL)))[1]
    with httpx.Client(base_url=api.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
        yield client


def test_files_and_disks_are_shown_to_admins_only(api: httpx.Client, reader: httpx.Client, worker: WorkerSide) -> None:
    assert reader.get("/v1/models/files").status_code == httpx.codes.FORBIDDEN
    assert reader.post("/v1/models", json={"path": ZI}).status_code == httpx.codes.FORBIDDEN
    assert reader.get("/v1/models/sd-turbo").json()["weights"] is None
    admin = create_key(worker.database, NewKey("admin", scopes=(Scope.ADMIN,)))[1]
    api.headers["Authorization"] = f"Bearer {admin}"
    shown = api.get("/v1/models/sd-turbo").json()["weights"]
    assert (shown["seen_by"], shown["present"]) == ("api", False)
    assert "imagefarm models pull sd-turbo" in shown["missing"]
