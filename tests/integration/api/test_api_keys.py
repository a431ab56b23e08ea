"""API keys: authentication, visibility, limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import openai
import pytest

from api.signed_links import SECONDS
from core.api_keys import Scope
from db.api_keys import NewKey, create_key, list_keys, revoke_key
from db.database import Database
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving

ClientMaker = Callable[[str, str], httpx.Client]
BODY = {"prompt": "a red fox", "width": 64, "height": 64}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def make(worker: WorkerSide, name: str = "studio", *scopes: Scope, **limits: int) -> str:
    chosen = scopes or (Scope.SUBMIT, Scope.READ_OWN)
    return create_key(worker.database, NewKey(name=name, scopes=chosen, **limits))[1]  # type: ignore[arg-type]


@pytest.fixture
def key(worker: WorkerSide) -> str:
    """Create a key that may submit and read its own jobs, before the server starts, so that keys are required."""
    return make(worker)


@pytest.fixture
def url(make_settings: SettingsMaker, key: str) -> Iterator[str]:
    with serving(make_settings()) as found:
        yield found


@pytest.fixture
def client() -> Iterator[ClientMaker]:
    with ExitStack() as opened:

        def open_client(url: str, key: str) -> httpx.Client:
            headers = {"Authorization": f"Bearer {key}"}
            return opened.enter_context(httpx.Client(base_url=url, headers=headers, timeout=120))

        yield open_client


def test_the_database_does_not_contain_the_key_itself(worker: WorkerSide, key: str) -> None:
    row = list_keys(worker.database)[0]
    assert key.split("_", 2)[2] not in repr(vars(row))


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/models", "/v1/usage", "/sdapi/v1/options", "/metrics", "/v1/queue"])
def test_a_request_without_a_key_is_401(url: str, path: str) -> None:
    answer = httpx.get(url + path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert httpx.get(f"{url}/healthz").status_code == 200


@pytest.mark.parametrize("change", ["x", "ifk_0123456789ab_" + "A" * 43, "ünïcode", "ifk_" + "0" * 500])
def test_a_wrong_key_is_401(url: str, change: str) -> None:
    headers = [(b"Authorization", b"Bearer " + change.encode("utf-8"))]
    assert httpx.get(f"{url}/v1/jobs", headers=headers).status_code == 401


def test_a_key_with_a_changed_secret_is_401(url: str, key: str, client: ClientMaker) -> None:
    changed = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert client(url, changed).get("/v1/jobs").status_code == 401


def test_a_key_is_accepted_in_every_header(url: str, key: str) -> None:
    assert httpx.get(f"{url}/v1/jobs", headers={"X-API-Key": key}).status_code == 200
    assert httpx.get(f"{url}/v1/jobs", auth=("me", key)).status_code == 200
    assert httpx.get(f"{url}/v1/jobs", headers={"Cookie": f"imagefarm_key={key}"}).status_code == 401


def test_owners_see_only_their_own(url: str, key: str, worker: WorkerSide, client: ClientMaker) -> None:
    other = client(url, make(worker, "other"))
    watcher = client(url, make(worker, "watcher", Scope.READ_ALL))
    admin = client(url, make(worker, "boss", Scope.ADMIN))
    mine = client(url, key).post("/v1/jobs", json=BODY).json()
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    image = client(url, key).get(f"/v1/jobs/{mine['id']}").json()["outputs"][0]
    for path in (f"/v1/jobs/{mine['id']}", f"/v1/jobs/{mine['id']}/events", image["url"], image["content_url"]):
        assert other.get(path).status_code == 404, path
        assert watcher.get(path).status_code == 200, path
    assert other.get("/v1/jobs").json()["items"] == []
    assert other.post(f"/v1/jobs/{mine['id']}/cancel").status_code == 404
    assert watcher.post(f"/v1/jobs/{mine['id']}/cancel").json()["code"] == "scope_missing"
    assert other.delete(image["url"]).status_code == 404
    assert admin.post(f"/v1/jobs/{mine['id']}/cancel").status_code == 200
    assert other.post("/v1/workers/box-cpu/pause").json()["code"] == "scope_missing"
    assert admin.post("/v1/workers/box-cpu/pause").status_code == 200
    assert watcher.post("/v1/jobs", json=BODY).status_code == 403


def test_an_administrator_creates_and_revokes_keys(url: str, worker: WorkerSide, client: ClientMaker) -> None:
    boss = client(url, make(worker, "boss", Scope.ADMIN))
    wanted = {"name": " ci ", "owner": "team", "scopes": ["submit", "submit"], "max_queued": 3, "expires_in_days": 2}
    answer = boss.post("/v1/keys", json=wanted)
    made = answer.json()
    assert (answer.status_code, made["name"], made["owner"], made["scopes"]) == (201, "ci", "team", ["submit"])
    assert made["active"]
    assert answer.headers["cache-control"] == "no-store"
    theirs = client(url, made["key"])
    assert theirs.post("/v1/jobs", json=BODY).json()["owner"] == "team"
    assert theirs.post("/v1/keys", json=wanted).json()["code"] == "scope_missing"
    assert theirs.delete(f"/v1/keys/{made['id']}").status_code == 403
    [listed] = [row for row in boss.get("/v1/keys").json()["items"] if row["id"] == made["id"]]
    assert listed == {name: made[name] for name in made.keys() - {"key"}} | {"last_used_at": listed["last_used_at"]}
    assert boss.delete(f"/v1/keys/{made['id']}").status_code == 204
    [ended] = [row for row in boss.get("/v1/keys").json()["items"] if row["id"] == made["id"]]
    assert not ended["active"]
    assert boss.delete(f"/v1/keys/{made['id']}").status_code == 204
    [again] = [row for row in boss.get("/v1/keys").json()["items"] if row["id"] == made["id"]]
    assert again["revoked_at"] == ended["revoked_at"]
    assert boss.delete("/v1/keys/000000000000").json()["code"] == "key_not_found"
    for wrong in (
        {"name": " "},
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["root"]},
        {"name": "a", "max_queued": 0},
    ):
        assert boss.post("/v1/keys", json=wrong).status_code == 422, wrong


def test_the_last_key_of_an_administrator_is_kept(url: str, worker: WorkerSide, client: ClientMaker) -> None:
    boss = client(url, make(worker, "boss", Scope.ADMIN))
    mine = next(row["id"] for row in boss.get("/v1/keys").json()["items"] if row["name"] == "boss")
    refused = boss.delete(f"/v1/keys/{mine}")
    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")
    assert boss.get("/v1/keys").status_code == 200
    second = boss.post("/v1/keys", json={"name": "second", "scopes": ["admin"]}).json()
    assert boss.delete(f"/v1/keys/{mine}").status_code == 204
    assert client(url, second["key"]).delete(f"/v1/keys/{second['id']}").status_code == 409


def test_the_first_key_is_one_of_an_administrator(api: httpx.Client) -> None:
    refused = api.post("/v1/keys", json={"name": "ci"})
    assert (refused.status_code, refused.json()["code"]) == (409, "admin_key_first")
    assert api.get("/v1/keys").json() == {"items": []}
    made = api.post("/v1/keys", json={"name": "boss", "scopes": ["admin"]}).json()
    assert api.get("/v1/keys", headers={"X-API-Key": made["key"]}).json()["items"][0]["name"] == "boss"


def test_a_revoked_key_is_401(make_settings: SettingsMaker, worker: WorkerSide, key: str, client: ClientMaker) -> None:
    make(worker, "another")
    revoke_key(worker.database, list_keys(worker.database)[0].id)
    with serving(make_settings()) as url:
        assert client(url, key).get("/v1/jobs").status_code == 401


ACCESS: list[dict[str, object]] = [
    {},
    {"host": "0.0.0.0"},
    {"open_access": True},
    {"open_access": True, "host": "0.0.0.0", "allowed_hosts": "localhost"},
]


@pytest.mark.parametrize("access", ACCESS)
def test_keys_stay_in_force_when_the_last_one_has_ended(
    make_settings: SettingsMaker, worker: WorkerSide, client: ClientMaker, access: dict[str, object]
) -> None:
    expired = create_key(worker.database, NewKey(name="short", expires_in_seconds=0))[1]
    with serving(make_settings(**access)) as url:
        assert client(url, expired).get("/v1/jobs").status_code == 401
        assert httpx.get(f"{url}/v1/jobs").status_code == 401
        key = make(worker, "last")
        assert client(url, key).get("/v1/jobs").status_code == 200
    revoke_key(worker.database, key.split("_")[1])
    with serving(make_settings(**access)) as url:
        for answer in (client(url, key).get("/v1/jobs"), httpx.get(f"{url}/v1/jobs"), httpx.get(f"{url}/metrics")):
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert httpx.get(f"{url}/v1/session").json() == {
            "keys_needed": True, "signed_in": False, "owner": None, "scopes": []
        }  # fmt: skip


@pytest.mark.parametrize("access", ACCESS)
def test_without_any_key_callers_are_anonymous_only_on_loopback_or_with_open_access(
    make_settings: SettingsMaker, access: dict[str, object]
) -> None:
    closed = access == {"host": "0.0.0.0"}
    with serving(make_settings(**access)) as url:
        assert httpx.get(f"{url}/v1/jobs").status_code == (401 if closed else 200)
        assert httpx.get(f"{url}/v1/session").json()["keys_needed"] is closed


def test_limits_of_a_key_are_enforced(url: str, worker: WorkerSide, client: ClientMaker) -> None:
    queued = client(url, make(worker, "a", max_queued=1))
    assert queued.post("/v1/jobs", json=BODY).status_code == 202
    assert queued.post("/v1/jobs", json=BODY).json()["code"] == "queue_full"
    rate = client(url, make(worker, "b", submits_per_minute=2))
    repeat = {"Idempotency-Key": "one"}
    codes = [rate.post("/v1/jobs", json=BODY, headers=repeat).status_code for _ in range(4)]
    assert codes == [202] * 4, "a replay counts against no limit"
    assert rate.post("/v1/jobs", json=BODY | {"width": 65}).status_code == 422
    assert rate.post("/v1/jobs", json=BODY).status_code == 202
    answers = (rate.post("/v1/jobs", json=BODY) for _ in range(4))  # several: the minute may end in between
    refused = next(answer for answer in answers if answer.status_code != 202)
    assert (refused.status_code, refused.json()["code"]) == (429, "submits_limit")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    pixels = client(url, make(worker, "c", pixels_per_day=64 * 64 * 3))
    assert pixels.post("/v1/jobs", json=BODY | {"num_images": 2}).status_code == 202
    assert pixels.post("/v1/jobs", json=BODY | {"num_images": 2}).json()["code"] == "pixels_limit"
    assert pixels.post("/v1/jobs", json=BODY).status_code == 202


def test_links_in_openai_answers_work_without_a_key_for_an_hour(url: str, key: str, worker: WorkerSide) -> None:
    with worker.working(), openai.OpenAI(base_url=f"{url}/v1", api_key=key) as package:
        answer = package.images.generate(prompt="x", extra_body={"width": 64, "height": 64})
    assert answer.data is not None
    link = answer.data[0].url or ""
    assert httpx.get(link).status_code == 200
    expires = int(httpx.URL(link).params["expires"])
    assert expires - time.time() <= SECONDS
    assert httpx.get(link.replace(f"expires={expires}", f"expires={expires + 1}")).status_code == 401
    assert httpx.get(link.partition("&expires")[0]).status_code == 401


def test_a_new_database_has_no_key(fresh_sqlite: str) -> None:
    from db.api_keys import any_active, any_ever

    database = Database(fresh_sqlite)
    assert any_active(database) is False
    assert any_ever(database) is False
    database.dispose()


def test_shared_styles_and_wildcards_need_admin(url: str, key: str, worker: WorkerSide, client: ClientMaker) -> None:
    style = {"name": "ink", "prompt": "ink"}
    user, admin = client(url, key), client(url, make(worker, "boss", Scope.ADMIN))
    shared = admin.post("/v1/styles", json=style | {"shared": True})
    assert shared.status_code == 201
    for refused in (
        user.post("/v1/styles", json=style | {"shared": True}),
        user.post("/v1/styles/import", json={"format": "a1111", "text": "name,prompt\nx,y\n", "shared": True}),
        user.put("/v1/wildcards/color", json={"text": "red"}),
        user.delete("/v1/wildcards/color"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert user.put(f"/v1/styles/{shared.json()['id']}", json=style).json()["code"] == "style_not_found"
    own = user.post("/v1/styles", json=style).json()
    assert admin.get("/v1/styles").json()["items"][0]["scope"] == "shared", "another owner's are not listed"
    assert user.get("/v1/styles").json()["items"][0]["id"] == own["id"]
