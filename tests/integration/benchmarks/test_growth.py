"""The growth of every GET, small: each route of the application has a call, and each call its expected response."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from api.app import create_app
from benchmarks.get_calls import CALLS, PAGE, Call, get_routes, missing_calls
from benchmarks.growth import Result, farms_of, measure, uncached
from core.settings import Settings
from tests.conftest import Migrate


def test_every_get_is_measured_and_answers(tmp_path: Path, redis_url: str, migrate: Migrate) -> None:
    def new_database(jobs: int) -> str:
        url = f"sqlite:///{tmp_path / f'{jobs}.db'}"
        migrate(url)
        return url

    results: list[Result] = []
    calls = [call for calls in CALLS.values() for call in calls]
    with farms_of((300, 3000), tmp_path, redis_url, new_database) as farms, uncached():
        measure(farms, 1, calls, results.append)
    assert [result.call for result in results] == calls
    assert all(milliseconds > 0 for result in results for milliseconds in result.milliseconds)


def test_a_route_without_a_call_is_an_error() -> None:
    app = create_app(Settings(_env_file=None, data_dir=Path("/nowhere")))
    assert missing_calls(app) == []
    assert set(CALLS) - {PAGE} <= get_routes(app)
    router = APIRouter(prefix="/v1/news")
    router.add_api_route("/{name}", lambda: None, methods=["GET"], include_in_schema=False)
    app.include_router(router)
    assert missing_calls(app) == ["/v1/news/{name}"]


def test_growth_is_more_than_noise_and_a_search_of_everything_is_none() -> None:
    assert Result(Call("/"), (2.0, 2.0, 3.1)).grows
    assert not Result(Call("/"), (2.0, 2.0, 2.9)).grows
    assert not Result(Call("/"), (0.5, 0.5, 1.2)).grows
    assert not Result(Call("/", reads_all="a search"), (2.0, 20.0)).grows
