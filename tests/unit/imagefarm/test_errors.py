"""Responses of a farm, or of a proxy in front of it, become the errors that the farm raised."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from api.problems import problem_of, retry_after, status_of
from core.errors import (
    Conflict,
    FarmError,
    Forbidden,
    Gone,
    InvalidInput,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from core.parameters import InvalidParameters
from core.settings import Settings
from imagefarm import ImageFarm
from imagefarm.address import find_address
from imagefarm.errors import error_of
from imagefarm.job_requests import request_of


def response(status: int, body: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, text=body, headers=headers, request=httpx.Request("GET", "http://farm/v1/jobs"))


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("m", code="malformed_json"),
        InvalidParameters([("width", "a"), ("seed", "b")]),
        NotFound("m", code="job_not_found"),
        Gone("m"),
        Conflict("m", code="model_not_served"),
        Unauthorized("m"),
        Forbidden("m", code="scope_missing"),
        TooManyRequests("m", retry_after=7.0),
        Unavailable("m", retry_after=3.0, code="database_unavailable"),
        FarmError("m", code="internal"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.code}",
)
def test_the_client_raises_the_error_that_the_farm_raised(error: FarmError) -> None:
    got = error_of(response(status_of(error), problem_of(error).model_dump_json()))
    assert (type(got), got.code, got.message, retry_after(got)) == (
        type(error),
        error.code,
        error.message,
        retry_after(error),
    )
    if isinstance(error, InvalidParameters):
        assert isinstance(got, InvalidParameters)
        assert got.problems == error.problems


def test_a_proxy_page_is_reported_as_not_a_farm() -> None:
    unavailable = error_of(response(502, "<html>bad gateway</html>"))
    assert isinstance(unavailable, Unavailable)
    missing = error_of(response(404, "<html>no such page</html>"))
    assert (type(missing), missing.code) == (NotFound, "not_a_farm")
    assert "IMAGEFARM_URL" in missing.message


def test_the_retry_after_header_takes_precedence_over_the_default() -> None:
    limited = error_of(response(429, "slow down", **{"Retry-After": "12"}))
    assert isinstance(limited, TooManyRequests)
    assert limited.retry_after == 12


def test_wrong_fields_are_named_before_a_request_is_sent() -> None:
    with pytest.raises(InvalidParameters) as caught:
        request_of("a cat", {"widht": 512, "seed": "x"})
    fields = dict(caught.value.problems)
    assert set(fields) == {"widht", "seed"}
    assert "num_inference_steps" in fields["widht"]


def test_the_address_comes_from_the_argument_then_the_settings_then_this_machine() -> None:
    def settings(**given: object) -> Settings:
        return Settings(_env_file=None, **given)  # type: ignore[arg-type]

    assert find_address("http://a:1/", "", settings(url="http://b")).url == "http://a:1"
    assert find_address(settings=settings(url="http://b", api_key="k", port=8000)).api_key == "k"
    assert find_address(settings=settings(url="http://b")).url == "http://b"
    assert find_address(settings=settings(host="0.0.0.0", port=8000)).url == "http://127.0.0.1:8000"
    assert find_address(settings=settings(host="::1")).url == "http://[::1]:7860"
    with pytest.raises(InvalidInput, match="not the address of a farm"):
        find_address("127.0.0.1:7860", "")


def test_a_field_of_a_batchs_jobs_belongs_into_base() -> None:
    with ImageFarm("http://127.0.0.1:9") as farm, pytest.raises(InvalidParameters) as caught:
        farm.batch(["a fox"], width=128)
    assert caught.value.problems == [("width", "is a field of the batch's jobs: put it into `base`.")]


def test_an_export_says_that_no_farm_answers(tmp_path: Path) -> None:
    with ImageFarm("http://127.0.0.1:9", retry_seconds=0) as farm, pytest.raises(Unavailable) as caught:
        farm.export(tmp_path / "all.zip")
    assert caught.value.code == "farm_unreachable"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("hello")
    with ImageFarm("http://127.0.0.1:9") as farm, pytest.raises(InvalidInput, match=r"notes\.png' is not a PNG"):
        farm.upload(tmp_path / "notes.png")
