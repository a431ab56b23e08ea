"""Complete the OpenAPI document: security, tags, forms, and schemas that client generators can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic.json_schema import models_json_schema

from api.openai.request import ImageEditRequest, ImageVariationRequest

Document = dict[str, Any]
_VALIDATION = "HTTPValidationError"
_REF = "#/components/schemas/"
LICENCE: Mapping[str, str] = MappingProxyType(
    {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0.html"}
)
CONTACT: Mapping[str, str] = MappingProxyType({"name": "imagefarm", "url": "https://github.com/imagefarm/imagefarm"})
TAGS: Mapping[str, str] = MappingProxyType(
    {
        "jobs": "Submit jobs, follow them, cancel and retry them.",
        "batches": "Many jobs in one call, and what became of them.",
        "images": "Finished images: files, ratings, refinement, lineage, exports.",
        "uploads": "Images and masks to start from.",
        "upscales": "Enlarge images.",
        "models": "Models, LoRAs, presets and recipes, and the weights on disk.",
        "styles": "Styles and wildcards for prompts.",
        "workers": "The workers, and what administrators ask of them.",
        "nodes": "The machines of workers: join, drain, resume, remove.",
        "queue": "What waits and runs.",
        "farm": "The farm over time: throughput, waits, events; and its keys, for administrators.",
        "usage": "What was rendered, by day and owner.",
        "webhooks": "Messages about settled jobs.",
        "session": "Who you are, and the session of the page.",
        "health": "Liveness, readiness and metrics.",
        "openai": "OpenAI's image API over the same queue.",
        "a1111": "The API of A1111's web UI over the same queue.",
        "comfyui": "The calls of ComfyUI over the same queue.",
    }
)
_SCHEMES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "bearerKey": {"type": "http", "scheme": "bearer", "description": "A key of `imagefarm keys create`."},
        "basicKey": {"type": "http", "scheme": "basic", "description": "The key as the password; any user name."},
        "headerKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The key."},
        "azureKey": {
            "type": "apiKey",
            "in": "header",
            "name": "api-key",
            "description": "The key, as Azure's clients send it.",
        },
    }
)
_PUBLIC = frozenset({"/healthz", "/readyz"})
"""Addresses that no key is needed for."""
_FORMS: Mapping[str, type[ImageEditRequest] | type[ImageVariationRequest]] = MappingProxyType(
    {"/v1/images/edits": ImageEditRequest, "/v1/images/variations": ImageVariationRequest}
)
_BINARY: Mapping[str, str] = MappingProxyType({"type": "string", "format": "binary"})


def completed(document: Document) -> Document:
    """Return FastAPI's document, changed in place."""
    document["info"] |= {"license": dict(LICENCE), "contact": dict(CONTACT)}
    document["tags"] = [{"name": name, "description": text} for name, text in sorted(TAGS.items())]
    components = document["components"]
    components["securitySchemes"] = {name: dict(scheme) for name, scheme in _SCHEMES.items()}
    # The empty choice is first: no key is needed while none was ever created.
    document["security"] = [{}, *({name: []} for name in _SCHEMES)]
    for path in _PUBLIC & document["paths"].keys():
        for operation in document["paths"][path].values():
            operation["security"] = []
    _add_forms(document)
    _without_unused_errors(document)
    for name in _of_requests(document):
        _without_defaults(components["schemas"][name])
    for operation in operations(document):
        for parameter in operation.get("parameters", ()):
            parameter["description"] = parameter.get("description") or _about(parameter)
        _without_null_body(operation)
    return document


def operations(document: Document) -> Iterator[Document]:
    """Yield every operation."""
    for path in document["paths"].values():
        yield from path.values()


def _without_null_body(operation: Document) -> None:
    """State that a body may be left out by `required` alone: openapi-python-client fails where null is a choice too."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        choices = content["schema"].get("anyOf", ())
        if len(choices) == 2 and {"type": "null"} in choices:
            content["schema"] = next(each for each in choices if each != {"type": "null"})


def _without_unused_errors(document: Document) -> None:
    """Remove the error response that FastAPI adds and no face returns."""
    for operation in operations(document):
        if _VALIDATION in _references(operation["responses"].get("422", {})):
            del operation["responses"]["422"]
    for name in (_VALIDATION, "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _about(parameter: Document) -> str:
    """Return a description of a parameter that has none of its own: its name in words."""
    words = str(parameter["name"]).replace("_", " ").replace("-", " ").strip()
    return f"{words[:1].upper()}{words[1:]}."


def _add_forms(document: Document) -> None:
    """Describe the bodies of edits and variations, which FastAPI does not parse."""
    schemas = document["components"]["schemas"]
    _, found = models_json_schema([(kind, "validation") for kind in _FORMS.values()], ref_template=f"{_REF}{{model}}")
    schemas.update({name: schema for name, schema in found["$defs"].items() if name not in schemas})
    for path, kind in _FORMS.items():
        form = _form_of(schemas[kind.__name__], with_mask=kind is ImageEditRequest)
        content: Document = {"multipart/form-data": {"schema": {"$ref": f"{_REF}{kind.__name__}Form"}}}
        schemas[f"{kind.__name__}Form"] = form
        if kind is ImageEditRequest:
            content["application/json"] = {"schema": {"$ref": f"{_REF}{kind.__name__}"}}
        else:
            del schemas[kind.__name__]
        document["paths"][path]["post"]["requestBody"] = {"required": True, "content": content}
    document["components"]["schemas"] = dict(sorted(schemas.items()))


def _form_of(schema: Document, *, with_mask: bool) -> Document:
    fields = {name: value for name, value in schema["properties"].items() if name not in ("images", "mask")}
    files: Document = {"image": {**_BINARY, "description": "PNG, JPEG or WebP; of several `image[]` the first is used."}}
    if with_mask:
        files["mask"] = {**_BINARY, "description": "PNG: what is transparent in it is repainted."}
    required = [name for name in schema.get("required", ()) if name != "images"]
    return {
        "type": "object",
        "title": f"{schema['title']}Form",
        "description": "A form. Fields of POST /v1/jobs may be sent as well.",
        "properties": fields | files,
        "required": [*required, "image"],
    }


def _of_requests(document: Document) -> set[str]:
    """Return the names of the schemas that requests are made of."""
    schemas = document["components"]["schemas"]
    waiting = [
        reference for operation in operations(document) for reference in _references(operation.get("requestBody", {}))
    ]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(schemas[name])
    return found


def _references(value: Any) -> Iterator[str]:  # noqa: ANN401 -- any JSON value
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str) and reference.startswith(_REF):
            yield reference.removeprefix(_REF)
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _without_defaults(schema: Document) -> None:
    """Say each default in words: generators of clients make a field with a default required."""
    for name in schema.get("required", ()):
        schema["properties"][name].pop("default", None)
    for field in schema.get("properties", {}).values():
        if "default" not in field:
            continue
        default = field.pop("default")
        about = str(field.get("description", "")).strip()
        if default not in (None, [], {}, "") and "Default:" not in about:
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            field["description"] = f"{about} Default: {shown}.".strip()
