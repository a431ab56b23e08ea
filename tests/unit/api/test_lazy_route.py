"""Late routes: nothing is analysed before it is wanted, and then once, whoever wants it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import FastAPIError
from fastapi.testclient import TestClient
from pydantic import BaseModel

from api.lazy_route import Build, LazyRoute


class Body(BaseModel):
    """What the endpoint takes."""

    number: int


class Unreadable:
    """No type of a field."""


class CountedRoute(LazyRoute):
    """Counts how often it was analysed."""

    builds = 0

    def build(self, build: Build) -> None:
        self.builds += 1
        super().build(build)


def counted() -> CountedRoute:
    router = APIRouter(route_class=CountedRoute)

    @router.post("/doubled/{name}", responses={404: {"model": Body}})
    async def doubled(name: str, body: Body) -> Body:
        """Return twice the number."""
        return Body(number=body.number * 2)

    [route] = router.routes
    assert isinstance(route, CountedRoute)
    return route


def test_a_route_is_analysed_for_its_first_request_only() -> None:
    app, route = FastAPI(), counted()
    app.router.routes.append(route)
    client = TestClient(app)
    assert client.get("/doubled/x").status_code == 405
    assert route.builds == 0
    for _ in range(2):
        assert client.post("/doubled/x", json={"number": 2}).json() == {"number": 4}
    assert client.post("/doubled/x", json={}).status_code == 422
    assert route.builds == 1


def test_the_document_is_that_of_routes_which_were_analysed_at_once() -> None:
    late, usual, route = FastAPI(), FastAPI(), counted()
    late.router.routes.append(route)
    usual.add_api_route(route.path, route.endpoint, methods=["POST"], responses={404: {"model": Body}})
    assert late.openapi() == usual.openapi()


def test_threads_that_want_a_route_at_once_share_its_analysis() -> None:
    route = counted()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: route.dependant, range(8)))
    assert route.builds == 1
    assert all(each is found[0] for each in found)


def test_a_route_that_cannot_be_analysed_says_so_each_time() -> None:
    async def endpoint() -> None:
        """Return nothing."""

    route = LazyRoute("/", endpoint, response_model=Unreadable)
    for _ in range(2):
        with pytest.raises(FastAPIError, match="Unreadable"):
            _ = route.app


def test_an_application_is_made_without_analyses() -> None:
    code = """
from api.app import create_app
from api.lazy_route import LazyRoute
from core.settings import Settings

routes = create_app(Settings(_env_file=None)).router.routes
late = [route for route in routes if isinstance(route, LazyRoute)]
assert len(late) > 100
assert not [route.path for route in late if "dependant" in vars(route)]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
