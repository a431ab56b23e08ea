"""Direct routes: what the direct answer does not take is left to FastAPI, with the whole body."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.direct_route import DirectRoute, directly, json_of


class Body(BaseModel):
    """What the endpoint takes."""

    number: int


router = APIRouter(route_class=DirectRoute)


async def _answer(request: Request) -> Response | None:
    body = await json_of(request)
    return Response(f"direct {body['number']}") if isinstance(body, dict) and body.get("number") == 1 else None


@router.post("/doubled")
@directly(_answer)
async def doubled(body: Body) -> int:
    """Return twice the number."""
    return body.number * 2


@router.post("/plain")
async def plain(body: Body) -> int:
    """Return the number."""
    return body.number


def client() -> TestClient:
    app = FastAPI()
    app.router.routes.extend(router.routes)
    return TestClient(app)


def test_the_direct_answer_comes_first() -> None:
    assert client().post("/doubled", json={"number": 1}).text == "direct 1"
    assert client().post("/plain", json={"number": 1}).text == "1"


def test_everything_else_is_answered_by_fastapi() -> None:
    api = client()
    assert api.post("/doubled", json={"number": 4}).json() == 8
    typed = {"content-type": "application/json; charset=utf-8"}
    assert api.post("/doubled", content=b'{"number": 1}', headers=typed).json() == 2
    for content in (b"{", b"\xff", b"null", b"[" * 100_000, b""):
        answers = [
            api.post(path, content=content, headers={"content-type": "application/json"}) for path in ("/doubled", "/plain")
        ]
        assert answers[0].status_code == answers[1].status_code
        assert answers[0].json() == answers[1].json()
    assert api.post("/doubled", content=b"number=1").status_code == 422
    assert "/doubled" in api.get("/openapi.json").json()["paths"]
