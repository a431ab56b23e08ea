"""What the API says about workers with several models, and requests to load and unload one."""

from __future__ import annotations

import httpx
import pytest

from core.api_keys import Scope
from core.settings import Settings
from db.worker_models import ModelReport, report_models, requests_to
from db.workers import Registration, heartbeat, register
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving
from tests.integration.api.test_api_keys import make

GOOD = {"prompt": "a red fox", "width": 64, "height": 64}
MODELS = ("demo", "sd-turbo")


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, fresh_sqlite: str) -> str:
    """Use SQLite only: the queries have tests of their own."""
    return fresh_sqlite


@pytest.fixture
def several(settings: Settings, worker: WorkerSide) -> WorkerSide:
    """Make the worker serve two models, the first of which is loaded."""
    register(worker.database, Registration(worker.name, "run-1", "demo", "cpu", 2, MODELS))
    heartbeat(worker.database, worker.name, "run-1", state="ready", model="demo")
    report_models(worker.database, worker.name, "run-1", {"demo": ModelReport("loaded", load_seconds=3.5)})
    return worker


def test_jobs_are_accepted_for_every_model_and_say_what_they_wait_for(several: WorkerSide, api: httpx.Client) -> None:
    row = api.get(f"/v1/workers/{several.name}").json()
    assert [(each["id"], each["state"], each["load_seconds"]) for each in row["models"]] == [
        ("demo", "loaded", 3.5),
        ("sd-turbo", "on_disk", None),
    ]
    model = api.get("/v1/models/sd-turbo").json()
    assert (model["state"], model["served"], model["workers"], model["loaded_by"]) == ("unloaded", True, [several.name], [])
    job = api.post("/v1/jobs", json=GOOD | {"model": "sd-turbo"})
    assert job.status_code == 202
    waiting = api.get(job.headers["location"]).json()["queue"]
    assert several.name in waiting["reason"] and "will load it" in waiting["reason"]
    assert waiting["capable_workers"] == [several.name]


def test_a_model_that_could_not_be_loaded_is_refused_with_the_reason(
    several: WorkerSide, make_settings: SettingsMaker
) -> None:
    reports = {"sd-turbo": ModelReport("unavailable", "Its file is damaged. It is tried again after 15 s.")}
    report_models(several.database, several.name, "run-1", reports)
    with serving(make_settings(model="demo,sd-turbo")) as url, httpx.Client(base_url=url) as api:
        refused = api.post("/v1/jobs", json=GOOD | {"model": "sd-turbo"})
        assert refused.status_code == 409
        assert "Its file is damaged. It is tried again after 15 s." in refused.json()["detail"]
        assert "imagefarm models pull sd-turbo" in refused.json()["detail"]
        assert api.post("/v1/jobs", json=GOOD).status_code == 202


def test_requests_reach_the_worker_and_only_administrators_may_make_them(several: WorkerSide, settings: Settings) -> None:
    keys = {scope: make(several, scope.value, scope) for scope in (Scope.ADMIN, Scope.SUBMIT)}
    headers = {scope: {"Authorization": f"Bearer {key}"} for scope, key in keys.items()}
    with (
        serving(settings) as url,
        httpx.Client(base_url=url, headers=headers[Scope.ADMIN]) as admin,
        httpx.Client(base_url=url, headers=headers[Scope.SUBMIT]) as other,
    ):
        assert other.post("/v1/models/sd-turbo/load").status_code == 403
        asked = admin.post("/v1/models/sd-turbo/load", json={"worker": several.name})
        assert asked.status_code == 202
        assert "in place of demo" in asked.json()["workers"][0]["message"]
        assert requests_to(several.database, several.name) == {"sd-turbo": "load"}
        assert admin.post("/v1/models/demo/unload").json()["workers"][0]["state"] == "loaded"
        assert requests_to(several.database, several.name) == {"sd-turbo": "load", "demo": "unload"}
        heartbeat(several.database, several.name, "run-1", state="stopped")
        gone = admin.post("/v1/models/demo/load", json={"worker": several.name})
        assert (gone.status_code, gone.json()["code"]) == (409, "worker_not_running")
