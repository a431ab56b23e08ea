"""Every route that queues a job counts against the limits of the caller's key."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from api.app import create_app
from core.api_keys import Scope
from core.ids import new_id
from core.settings import Settings
from db.api_keys import NewKey, create_key
from tests.comfyui_graphs import checkpoint_template
from tests.integration.api.running import WorkerSide, serving

SIDE = 64
BODY = {"prompt": "a red fox", "width": SIDE, "height": SIDE}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

SMALL = "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAEklEQVR42mNgGAWjYBSMAuwAAAQgAAF8we+4AAAAAElFTkSuQmCC"
"""32 pixels wide and high: enlarged twice, as many as a job of BODY."""

QUEUEING: dict[tuple[str, str], dict[str, Any] | None] = {
    ("POST", "/v1/jobs"): BODY,
    ("POST", "/v1/batches"): {"base": BODY, "seeds": [1]},
    ("POST", "/v1/upscales"): {"upload": "{upload}", "scale": 2},
    ("POST", "/v1/images/generations"): {"prompt": "x", "size": "64x64"},
    ("POST", "/v1/images/edits"): {"prompt": "x", "size": "64x64", "images": [{"image_url": f"data:,{PIXEL}"}]},
    ("POST", "/v1/images/variations"): None,
    ("POST", "/sdapi/v1/txt2img"): BODY,
    ("POST", "/sdapi/v1/img2img"): BODY | {"init_images": [PIXEL]},
    ("POST", "/prompt"): {"prompt": checkpoint_template("demo.safetensors", SIDE, cfg=1)},
    ("POST", "/sdapi/v1/extra-single-image"): {"image": SMALL, "upscaling_resize": 2, "upscaler_1": "Lanczos"},
    ("POST", "/sdapi/v1/extra-batch-images"): {
        "imageList": [{"data": SMALL, "name": "a"}],
        "upscaling_resize": 2,
        "upscaler_1": "Lanczos",
    },
    ("POST", "/v1/jobs/{job_id}/retry"): None,
    ("POST", "/v1/images/{image_id}/rerun"): None,
    ("POST", "/v1/images/{image_id}/refine"): {"mode": "same_seed", "width": SIDE, "height": SIDE},
}
"""Each route by which a user can queue a job, with a body that it accepts."""

NOT_QUEUEING = {
    ("POST", "/v1/jobs/{job_id}/cancel"),
    *(("POST", f"/v1/workers/{{name}}/{action}") for action in ("pause", "resume", "drain")),
    ("POST", "/v1/batches/{batch_id}/cancel"),
    ("POST", "/v1/estimate"),
    ("POST", "/v1/collections"),
    ("PATCH", "/v1/collections/{collection_id}"),
    ("POST", "/v1/join"),
    ("POST", "/v1/keys"),
    *(("POST", f"/v1/nodes/{{name}}/{action}") for action in ("drain", "resume")),
    ("POST", "/v1/uploads"),
    ("POST", "/v1/parameters"),
    ("POST", "/v1/models"),
    *(("POST", f"/v1/models/{{model_id}}/{action}") for action in ("load", "unload", "pull", "verify")),
    ("POST", "/v1/model-operations/{operation_id}/cancel"),
    ("POST", "/v1/styles"),
    ("PUT", "/v1/styles/{style_id}"),
    ("POST", "/v1/styles/import"),
    ("PUT", "/v1/wildcards/{name}"),
    ("POST", "/v1/webhooks"),
    ("POST", "/v1/webhooks/deliveries/{delivery_id}/redeliver"),
    ("POST", "/v1/session"),
    ("PATCH", "/v1/images/{image_id}"),
    *(
        ("POST", f"/sdapi/v1/{path}")
        for path in ("options", "png-info", "interrupt", "skip", "unload-checkpoint", "reload-checkpoint")
    ),
    *(("POST", f"/sdapi/v1/refresh-{name}") for name in ("checkpoints", "loras", "vae", "embeddings")),
    ("POST", "/internal/progress"),
    *(("POST", path) for path in ("/queue", "/history", "/interrupt", "/upload/image")),
}

Caller = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def url(shared_settings: Settings, shared_worker: WorkerSide) -> Iterator[str]:
    create_key(shared_worker.database, NewKey(name="first"))
    changed = shared_settings.model_copy(update={"sync_wait_seconds": 0.05, "max_attempts": 1})
    with serving(changed) as found:
        yield found


@pytest.fixture
def worker(shared_worker: WorkerSide) -> WorkerSide:
    """Finish what earlier tests have left in the queue."""
    while (job := shared_worker.claim()) is not None:
        shared_worker.finish(job)
    return shared_worker


@pytest.fixture
def studio() -> str:
    """Return an owner that no other test has."""
    return f"studio-{new_id()}"


@pytest.fixture
def caller(url: str, worker: WorkerSide) -> Iterator[Caller]:
    """Return a function that makes a client with a new key with these limits."""
    opened = []

    def open_client(owner: str = "", **limits: int) -> httpx.Client:
        key = create_key(worker.database, NewKey(name="k", owner=owner, **limits))[1]  # type: ignore[arg-type]
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120)
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        client.close()


def ended_job(caller: Caller, worker: WorkerSide, owner: str, code: str = "non_finite_latents") -> str:
    """Return a job of the owner that has ended with this error: failed, or held when the error allows a retry."""
    job_id: str = caller(owner).post("/v1/jobs", json=BODY).json()["id"]
    while (job := worker.claim()) is not None:
        worker.fail(job, code)
    return job_id


def finished_image(caller: Caller, worker: WorkerSide, owner: str) -> str:
    """Return an image of the owner."""
    job = caller(owner).post("/v1/jobs", json=BODY).json()
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    image_id: str = caller(owner).get(f"/v1/jobs/{job['id']}").json()["outputs"][0]["id"]
    return image_id


def send(client: httpx.Client, method: str, path: str, **ids: str) -> httpx.Response:
    body = QUEUEING[method, path]
    if path.endswith("/variations"):
        return client.post(path, data={"size": "64x64"}, files={"image": base64.b64decode(PIXEL)})
    if body is not None and "upload" in body:
        png = base64.b64decode(SMALL)
        body = body | {"upload": client.post("/v1/uploads", content=png, headers={"Content-Type": "image/png"}).json()["id"]}
    return client.request(method, path.format(**ids), json=body)


def test_every_route_that_changes_something_is_known_to_queue_jobs_or_not() -> None:
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]
    writing = {(method.upper(), path) for path in paths for method in paths[path] if method in ("post", "put", "patch")}
    assert writing == QUEUEING.keys() | NOT_QUEUEING


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"submits_per_minute": 1}, "submits_limit"),
        ({"pixels_per_day": SIDE * SIDE}, "pixels_limit"),
        ({"max_queued": 1}, "queue_full"),
    ],
)
@pytest.mark.parametrize(("method", "path"), QUEUEING)
def test_a_route_that_queues_a_job_refuses_at_the_limit(
    caller: Caller, worker: WorkerSide, studio: str, method: str, path: str, limit: dict[str, int], code: str
) -> None:
    ids = {"image_id": finished_image(caller, worker, studio), "job_id": ended_job(caller, worker, studio)}
    client = caller(studio, **limit)
    assert send(client, method, path, **ids).status_code in (200, 202, 504)
    accepted, refused = 1, send(client, method, path, **ids)
    if refused.status_code != 429 and code != "queue_full":  # the limit's minute or day may have ended between the two
        accepted, refused = 2, send(client, method, path, **ids)
    assert refused.status_code == 429, refused.text
    assert code in refused.text
    assert int(refused.headers["retry-after"]) > 0
    assert len(caller(studio).get("/v1/jobs?status=queued").json()["items"]) == accepted


@pytest.mark.parametrize("limit", [{"submits_per_minute": 1}, {"pixels_per_day": SIDE * SIDE}, {"max_queued": 1}])
def test_a_held_job_is_queued_again_within_the_limits(
    caller: Caller, worker: WorkerSide, studio: str, limit: dict[str, int]
) -> None:
    for number in range(5):  # The limit's minute or day may end between the two.
        owner = f"{studio}-{number}"
        held = ended_job(caller, worker, owner, code="engine_lost")
        client = caller(owner, **limit)
        assert client.get(f"/v1/jobs/{held}").json()["status"] == "held"
        assert client.post("/v1/jobs", json=BODY).status_code == 202
        refused = client.post(f"/v1/jobs/{held}/retry")
        if refused.status_code == 429:
            break
    assert refused.status_code == 429
    assert client.get(f"/v1/jobs/{held}").json()["status"] == "held"


def test_a_retry_that_is_refused_uses_up_nothing(caller: Caller, worker: WorkerSide, studio: str) -> None:
    ended = ended_job(caller, worker, studio)
    client = caller(studio, submits_per_minute=1, pixels_per_day=SIDE * SIDE)
    waiting = caller(studio).post("/v1/jobs", json=BODY).json()["id"]
    missing = "019ab000-0000-7000-8000-000000000000"
    assert client.post(f"/v1/jobs/{waiting}/retry").status_code == 409
    assert client.post(f"/v1/jobs/{missing}/retry").status_code == 404
    assert client.post(f"/v1/jobs/{ended}/retry").status_code == 202


def test_an_administrator_requeues_other_owners_jobs_by_the_farms_limit(
    caller: Caller, worker: WorkerSide, studio: str
) -> None:
    """The limit of queued jobs counts the key's own owner."""
    ended = ended_job(caller, worker, studio)
    assert caller(studio).post("/v1/jobs", json=BODY).status_code == 202
    key = create_key(worker.database, NewKey(name="ops", scopes=(Scope.ADMIN,), max_queued=1))[1]
    with httpx.Client(base_url=caller().base_url, headers={"Authorization": f"Bearer {key}"}) as admin:
        assert admin.post(f"/v1/jobs/{ended}/retry").status_code == 202


def test_only_an_images_owner_refines_it_and_sees_its_lineage(caller: Caller, worker: WorkerSide, studio: str) -> None:
    image = finished_image(caller, worker, studio)
    own, other = caller(studio), caller(f"rival-{studio}")
    for answer in (
        other.post(f"/v1/images/{image}/refine", json={}),
        other.get(f"/v1/images/{image}/lineage"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found")
    start = other.post("/v1/jobs", json=BODY | {"init_image": image})
    assert (start.status_code, start.json()["code"]) == (422, "upload_not_found")
    assert own.post("/v1/jobs", json=BODY | {"init_image": image}).status_code == 202
    key = create_key(worker.database, NewKey(name="ops", owner="ops", scopes=(Scope.ADMIN,)))[1]
    with httpx.Client(base_url=own.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as admin:
        assert admin.post(f"/v1/images/{image}/refine", json={"mode": "same_seed"}).status_code == 202
        while (job := worker.claim()) is not None:
            worker.finish(job)
        assert len(admin.get(f"/v1/images/{image}/lineage").json()["descendants"]) == 2
    shown = own.get(f"/v1/images/{image}/lineage").json()["descendants"]
    assert len(shown) == 1, "the other one is the administrator's"
