"""The models that workers serve: lists, states, what waits for them, requests."""

from __future__ import annotations

from db import worker_models, workers
from db.database import Database
from db.jobs.claim import Claimant, claim_next
from db.jobs.finish import finish_error
from db.worker_models import ModelReport
from tests.integration.db.conftest import Submit


def register(database: Database, name: str, *models: str) -> None:
    workers.register(database, workers.Registration(name, f"{name}-1", models[0], "cpu", 2, models))


def ready(database: Database, name: str, model: str, **states: worker_models.ModelState) -> None:
    workers.heartbeat(database, name, f"{name}-1", state="ready", model=model)
    reports = {each.replace("_", "-"): ModelReport(state) for each, state in states.items()}
    worker_models.report_models(database, name, f"{name}-1", reports)


def names(database: Database, model: str) -> list[str]:
    return [worker.name for worker in workers.live_workers(database, model)]


def test_workers_serve_what_they_list_unless_it_cannot_be_loaded(database: Database) -> None:
    register(database, "w1", "demo", "sd-turbo")
    register(database, "w2", "sd-turbo")
    assert (names(database, "demo"), names(database, "sd-turbo")) == (["w1"], ["w1", "w2"])
    ready(database, "w1", "demo", demo="loaded", sd_turbo="unavailable")
    assert names(database, "sd-turbo") == ["w2"]
    workers.heartbeat(database, "w1", "w1-1", state="unloaded")
    assert names(database, "demo") == ["w1"], "an unloaded worker loads it for the next job"
    register(database, "w1", "demo")
    assert [row.model for row in worker_models.models_by_worker(database)["w1"]] == ["demo"]
    worker_models.report_models(database, "w1", "another-process", {"demo": ModelReport("loaded")})
    assert worker_models.models_by_worker(database)["w1"][0].state == "on_disk"


def test_waiting_jobs_are_those_that_the_worker_may_claim(database: Database, submit_job: Submit) -> None:
    register(database, "w1", "demo", "sd-turbo")
    register(database, "w2", "demo")
    assert worker_models.waiting_for(database, "w1", ["demo", "sd-turbo"]) == {}
    submit_job()
    submit_job(model="sd-turbo")
    found = worker_models.waiting_for(database, "w1", ["demo", "sd-turbo"])
    assert {model: each.jobs for model, each in found.items()} == {"demo": 1, "sd-turbo": 1}
    assert 0 <= found["demo"].oldest_seconds < 60
    job = claim_next(database, "demo", Claimant("w1", "w1-1", 60.0))
    assert job is not None
    after = finish_error(database, job.id, job.attempt, "out_of_memory", "too big")
    assert after is not None and after.status == "queued", "w2 serves it too"
    assert "demo" not in worker_models.waiting_for(database, "w1", ["demo"])


def test_a_job_waits_for_a_worker_that_serves_its_model_without_having_it_loaded(
    database: Database, submit_job: Submit
) -> None:
    register(database, "w1", "sd-turbo")
    register(database, "w2", "demo", "sd-turbo")
    submit_job(model="sd-turbo")
    job = claim_next(database, "sd-turbo", Claimant("w1", "w1-1", 60.0))
    assert job is not None
    after = finish_error(database, job.id, job.attempt, "out_of_memory", "too big")
    assert after is not None and after.status == "queued"


def test_others_that_hold_a_model_are_seen_with_their_work(database: Database, submit_job: Submit) -> None:
    for name in ("w1", "w2"):
        register(database, name, "demo", "sd-turbo")
    ready(database, "w2", "demo", demo="loaded", sd_turbo="loading")
    held = worker_models.held_by_others(database, "w1", ["demo", "sd-turbo"], 20.0)
    assert [(each.worker, each.model, each.state, each.is_idle) for each in sorted(held, key=lambda each: each.model)] == [
        ("w2", "demo", "loaded", True),
        ("w2", "sd-turbo", "loading", True),
    ]
    submit_job()
    claim_next(database, "demo", Claimant("w2", "w2-1", 60.0))
    assert not any(each.is_idle for each in worker_models.held_by_others(database, "w1", ["demo"], 20.0))
    workers.set_paused(database, "w2", paused=True)
    assert worker_models.held_by_others(database, "w1", ["demo"], 20.0) == []


def test_the_latest_request_counts_until_it_is_cleared(database: Database) -> None:
    register(database, "w1", "demo", "sd-turbo")
    worker_models.request_model(database, "demo", ["w1"], "load")
    worker_models.request_model(database, "demo", ["w1"], "unload")
    worker_models.request_model(database, "sd-turbo", ["w1"], "load")
    assert worker_models.requests_to(database, "w1") == {"demo": "unload", "sd-turbo": "load"}
    worker_models.clear_request(database, "w1", "demo", "load")
    assert "demo" in worker_models.requests_to(database, "w1")
    worker_models.clear_request(database, "w1", "demo", "unload")
    assert worker_models.requests_to(database, "w1") == {"sd-turbo": "load"}
