"""Call every operation of a client that openapi-python-client generated; print the status of each as JSON."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

URL, KEY, FOLDER, PNG_HEX, JOB, IMAGE = sys.argv[1:7]
sys.path.insert(0, FOLDER)
models = importlib.import_module("client.models")
types = importlib.import_module("client.types")
DOCUMENT = json.loads((Path(FOLDER) / "openapi.json").read_text())
PNG = bytes.fromhex(PNG_HEX)
KNOWN = {"job_id": JOB, "image_id": IMAGE, "model_id": "demo", "node_class": "KSampler"}
UNKNOWN = "01890000-0000-7000-8000-000000000000"
LAST = ("delete", "put", "patch", "post", "get")
STREAM_SECONDS = 2.0


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation: reads first, deletions last."""
    found = [(verb, path, each) for path, verbs in DOCUMENT["paths"].items() for verb, each in verbs.items()]
    yield from sorted(found, key=lambda row: (-LAST.index(row[0]), row[1]))


def module_of(operation: dict[str, Any]) -> ModuleType:
    """Return the generated module of an operation."""
    wanted = operation["operationId"].replace("_", "")
    for file in (Path(FOLDER) / "client" / "api").rglob("*.py"):
        if file.stem.replace("_", "") == wanted:
            return importlib.import_module(f"client.api.{file.parent.name}.{file.stem}")
    raise LookupError(operation["operationId"])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without references and choices."""
    while True:
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        elif choices := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
            schema = next(each for each in choices if each.get("type") != "null")
        else:
            return schema


def sample(schema: dict[str, Any]) -> Any:  # noqa: ANN401 -- any JSON value
    """Return a value of a schema: its example, or what it requires."""
    schema = resolved(schema)
    given = [*schema.get("examples", ()), *schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
    if given:
        return given[0]
    if "binary" in (schema.get("format"), "binary" if "contentMediaType" in schema else ""):
        return types.File(payload=io.BytesIO(PNG), file_name="a.png", mime_type="image/png")
    values: dict[str, Any] = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "string": "a"}
    values |= {
        "object": {name: sample(schema["properties"][name]) for name in schema.get("required", ())},
        "array": [sample(schema["items"]) for _ in range(schema.get("minItems", 0))] if "items" in schema else [],
    }
    return values.get(schema.get("type", "object"), False)


def body_of(operation: dict[str, Any], hint: object) -> Any:  # noqa: ANN401 -- generated types
    """Return a body of the operation's first content type, or None. `hint`: the type of the parameter."""
    contents = operation.get("requestBody", {}).get("content", {})
    for media, content in contents.items():
        if media.startswith("image/"):
            return types.File(payload=io.BytesIO(PNG))
        schema = content["schema"]
        kind = getattr(models, schema.get("$ref", "/").rsplit("/", 1)[1] or getattr(hint, "__name__", ""), None)
        if kind is None:
            continue
        value = sample(schema)
        return kind(**value) if media.startswith("multipart/") else kind.from_dict(value)
    return None


def status_of(operation: dict[str, Any]) -> int:
    """Call an operation; return the status, or 0 for a stream that does not end."""
    call = module_of(operation).sync_detailed
    arguments: dict[str, Any] = {}
    hints = {name: parameter.annotation for name, parameter in inspect.signature(call).parameters.items()}
    for name, parameter in inspect.signature(call).parameters.items():
        if name == "body" and (body := body_of(operation, hints[name])) is not None:
            arguments["body"] = body
        elif name != "client" and parameter.default is inspect.Parameter.empty:
            arguments[name] = KNOWN.get(name, UNKNOWN if name.endswith("_id") else "nope")
    ends = operation["operationId"] != "read_events_v1_events_get"
    client = importlib.import_module("client").AuthenticatedClient(
        base_url=URL, token=KEY, timeout=httpx.Timeout(200 if ends else STREAM_SECONDS)
    )
    try:
        answer = call(client=client, **arguments)
    except httpx.ReadTimeout:
        return 0 if not ends else -1
    is_json = "json" in answer.headers.get("Content-Type", "")
    if answer.parsed is None and is_json and answer.content.strip() not in (b"", b"null", b"{}"):
        return -int(answer.status_code)  # Its schema is not the one of the document.
    return int(answer.status_code)


def main() -> None:
    """Call them all."""
    found: dict[str, int | str] = {}
    for verb, path, operation in operations():
        try:
            found[f"{verb} {path}"] = status_of(operation)
        except Exception as error:  # noqa: BLE001 -- whatever generated code raises is a finding
            found[f"{verb} {path}"] = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps(found))


main()
