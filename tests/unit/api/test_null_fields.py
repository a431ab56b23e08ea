"""Null means "not given", in every optional field of every request, and the OpenAPI document agrees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.routing import APIRoute
from pydantic import AliasChoices, BaseModel, ValidationError

from api.app import create_app
from core.schemas.base import NullableBody
from core.schemas.images import ImageChange
from core.schemas.jobs import JobRequest
from core.settings import Settings

REQUIRED: dict[str, Any] = {
    "prompt": "a cat",
    "url": "https://example.com/hook",
    "key": "k",
    "image": "aGk=",
    "id_task": "t",
    "rating": 3,
    "name": "ink",
    "text": "ink",
    "format": "a1111",
    "data": "aGk=",
    "imageList": [],
    "token": "t",
    "node": "box",
    "version": "1",
}
OTHERS: dict[str, dict[str, Any]] = {
    "BatchRequest": {"base": {"prompt": "a cat"}, "prompts": ["a cat"]},
    "UpscaleRequest": {"images": ["i"], "uploads": ["u"]},
    "StyleFields": {"prompt": "ink", "negative_prompt": "blur"},
    "StyleRequest": {"prompt": "ink", "negative_prompt": "blur"},
}
"""Optional fields of which a request needs one."""
APP = create_app(Settings(_env_file=None, data_dir=Path("/nowhere")))
"""Not started: only its routes and its document are read."""


def bodies() -> set[type[BaseModel]]:
    """Return the models of all JSON bodies, with those inside of them."""
    found: set[type[BaseModel]] = set()
    for context in APP.router.routes:
        for route in routes_of(context):
            for parameter in route.dependant.body_params:
                collect(parameter.field_info.annotation, found)
    return found


def routes_of(route: object) -> Iterator[APIRoute]:
    if isinstance(route, APIRoute):
        yield route
    for inner in getattr(getattr(route, "original_router", None), "routes", ()):
        yield from routes_of(inner)


def collect(annotation: Any, found: set[type[BaseModel]]) -> None:  # noqa: ANN401 -- any type of a field
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found.add(annotation)
        for field in annotation.model_fields.values():
            collect(field.annotation, found)
    for inner in get_args(annotation):
        collect(inner, found)


def names(model: type[BaseModel], *, required: bool) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if field.is_required() == required:
            alias = field.validation_alias
            yield from (str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else (name,)


def example(model: type[BaseModel]) -> dict[str, Any]:
    return {name: REQUIRED[name] for name in names(model, required=True)} | OTHERS.get(model.__name__, {})


BODIES = sorted(bodies(), key=lambda model: model.__name__)
FIELDS = [(model, name) for model in BODIES for name in names(model, required=False)]


def test_the_requests_of_all_faces_are_found() -> None:
    expected = {"JobRequest", "BatchRequest", "Axes", "JobWebhook", "EndpointRequest", "SessionRequest", "ImageChange"}
    expected |= {"ImagesRequest", "Txt2Img", "Img2Img", "PngInfoRequest", "TaskProgressRequest"}
    assert {model.__name__ for model in BODIES} >= expected
    assert len(FIELDS) > 80
    assert all(issubclass(model, NullableBody) for model in BODIES)


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_null_is_the_same_as_leaving_the_field_out(model: type[BaseModel], name: str) -> None:
    given = model.model_validate(example(model) | {name: None})
    without = model.model_validate({key: value for key, value in example(model).items() if key != name})
    assert given == without
    assert given.model_fields_set == without.model_fields_set


@pytest.mark.parametrize(("model", "name"), [(model, name) for model in BODIES for name in names(model, required=True)])
def test_null_in_a_required_field_is_reported_as_missing(model: type[BaseModel], name: str) -> None:
    if model is ImageChange:
        assert ImageChange.model_validate({"rating": None}).rating is None, "null removes a rating"
        return
    with pytest.raises(ValidationError) as caught:
        model.model_validate(example(model) | {name: None})
    assert [error["type"] for error in caught.value.errors()] == ["missing"]


def test_the_openapi_document_allows_null_in_every_optional_field() -> None:
    schemas = APP.openapi()["components"]["schemas"]
    for model in BODIES:
        schema = schemas[model.__name__]
        for name, field in schema["properties"].items():
            takes_null = {"type": "null"} in field.get("anyOf", []) or not field.keys() - {"title", "description", "default"}
            assert takes_null == (name not in schema.get("required", []) or model is ImageChange), (model, name)


def test_an_unknown_field_is_refused_even_as_null_and_an_alias_beside_null_counts() -> None:
    with pytest.raises(ValidationError, match="promt"):
        JobRequest.model_validate({"prompt": "a cat", "promt": None})
    request = JobRequest.model_validate({"prompt": "a cat", "num_inference_steps": None, "steps": 8})
    assert request.as_sent() == {"prompt": "a cat", "num_inference_steps": 8}


def types_of(schema: Any) -> set[str]:  # noqa: ANN401 -- JSON
    """Return the types that a field's schema allows, those of a list's items too."""
    inner = [schema["items"]] if "items" in schema else schema.get("anyOf", [])
    return {str(schema.get("type", ""))}.union(*map(types_of, inner))


NUMBERS = [
    (model, name, types_of(field))
    for model in BODIES
    for name, field in model.model_json_schema()["properties"].items()
    if types_of(field) & {"integer", "number"} and "boolean" not in types_of(field)
]


def test_true_and_false_are_no_numbers() -> None:
    assert len(NUMBERS) > 50
    for model, name, types in NUMBERS:
        with pytest.raises(ValidationError, match="true and false are no numbers: send a number"):
            model.model_validate(example(model) | {name: [True] if "array" in types else True})
