"""The OpenAPI document passes the rules of redocly and spectral, and says what client generators need."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from core.settings import Settings
from tests.conftest import find_tool, missing_tool

CONFIGURATION = Path(__file__).parents[2] / "data" / "openapi"
VERBS = {"get", "put", "post", "delete", "patch", "head", "options"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found = create_app(Settings(_env_file=None, data_dir=Path("/nowhere"))).openapi()
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (method and path, operation)."""
    for path, methods in document["paths"].items():
        assert methods.keys() <= VERBS
        yield from ((f"{method} {path}", operation) for method, operation in methods.items())


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_info_servers_and_tags_are_complete(document: dict[str, Any]) -> None:
    """redocly: info-license, no-empty-servers; spectral: info-contact, info-description, oas3-api-servers, openapi-tags."""
    info = document["info"]
    assert all(info[name] for name in ("title", "version", "description"))
    assert info["license"].keys() == {"name", "url"} and info["contact"]["name"]
    assert all(server["url"] and server["url"] != "/" and not server["url"].endswith("//") for server in document["servers"])
    tags = [tag["name"] for tag in document["tags"]]
    assert tags == sorted(set(tags)) and all(tag["description"] for tag in document["tags"])


def test_operations_are_described_and_answer_errors(document: dict[str, Any]) -> None:
    """operation-summary, -description, -tags, -operationId(-unique, -url-safe), -2xx-, -4xx-response, tag-defined."""
    tags = {tag["name"] for tag in document["tags"]}
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[A-Za-z0-9_-]+", each) for each in ids)
    for name, operation in operations(document):
        assert operation["summary"] and operation["description"], name
        assert operation["tags"] and set(operation["tags"]) <= tags, name
        statuses = {status[0] for status in operation["responses"]}
        assert {"2", "4"} <= statuses, name
        assert all(response["description"] for response in operation["responses"].values()), name
        assert all(parameter["description"] for parameter in operation.get("parameters", ())), name


def test_paths_are_well_formed_and_their_parameters_declared(document: dict[str, Any]) -> None:
    """path-params, path-declaration-must-exist, path-keys-no-trailing-slash, no-identical-paths,
    no-ambiguous-paths."""
    for one, other in combinations(document["paths"], 2):
        pairs = list(zip(one.split("/"), other.split("/"), strict=False))
        if one.count("/") == other.count("/") and all(a == b or "{" in a + b for a, b in pairs):
            patterns = [("{" in a, "{" in b) for a, b in pairs]
            assert (True, False) not in patterns or (False, True) not in patterns, f"{one} and {other} are ambiguous"
    shapes = [re.sub(r"\{[^}]*\}", "{}", path) for path in document["paths"]]
    assert len(shapes) == len(set(shapes))
    for path, methods in document["paths"].items():
        assert path.startswith("/") and not path.endswith("/") and "?" not in path and "{}" not in path
        for operation in methods.values():
            declared = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert declared == set(re.findall(r"\{([^}]*)\}", path)), path
            names = [(each["in"], each["name"]) for each in operation.get("parameters", ())]
            assert len(names) == len(set(names)), path


def test_security_is_defined_everywhere(document: dict[str, Any]) -> None:
    """security-defined: schemes exist, and every operation has them or says that it needs none."""
    schemes = document["components"]["securitySchemes"]
    assert {"bearerKey", "basicKey", "headerKey", "azureKey"} == schemes.keys()
    assert {name for choice in document["security"] for name in choice} == schemes.keys()
    public = {name for name, operation in operations(document) if operation.get("security") == []}
    assert public == {"get /healthz", "get /readyz"}


def test_schemas_have_names_of_their_own_and_all_are_used(document: dict[str, Any]) -> None:
    """oas3-unused-component, no-unresolved-refs; two classes of one name would get names with their modules in them."""
    schemas = document["components"]["schemas"]
    assert all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in schemas), sorted(schemas)
    used = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert used == schemas.keys()
    titles = [schema["title"] for schema in schemas.values() if "title" in schema]
    assert len(titles) == len(set(titles))


def test_fields_of_requests_have_no_default_that_makes_them_required_in_clients(document: dict[str, Any]) -> None:
    """openapi-typescript makes a field with a default required."""
    schemas = document["components"]["schemas"]
    waiting = [each for _, operation in operations(document) for each in references(operation.get("requestBody", {}))]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop().removeprefix("#/components/schemas/")
        if name in seen:
            continue
        seen.add(name)
        fields = schemas[name].get("properties", {})
        assert not [field for field, schema in fields.items() if "default" in schema], name
        waiting += references(schemas[name])
    assert {"JobRequest", "ImagesRequest", "ImageEditRequest", "Txt2Img", "Img2Img"} <= seen
    assert schemas["JobRequest"]["required"] == ["prompt"]
    assert schemas["JobRequest"]["properties"]["num_images"]["description"].endswith("Default: 1.")


def test_files_are_bodies_that_generators_know(document: dict[str, Any]) -> None:
    upload = document["paths"]["/v1/uploads"]["post"]["requestBody"]["content"]
    assert upload["application/octet-stream"]["schema"] == {"type": "string", "format": "binary"}
    form = document["components"]["schemas"]["ImageEditRequestForm"]
    assert form["properties"]["image"]["format"] == form["properties"]["mask"]["format"] == "binary"
    assert set(form["required"]) == {"prompt", "image"}


def test_examples_match_their_types(document: dict[str, Any]) -> None:
    """no-invalid-schema-examples, oas3-valid-schema-example, for the fields of objects."""
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            assert set(schema.get("required", ())) <= example.keys() <= schema["properties"].keys(), name


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("redocly", ["lint", "--config", str(CONFIGURATION / "redocly.yaml"), "--format=stylish"]),
        ("spectral", ["lint", "--ruleset", str(CONFIGURATION / "spectral.yaml"), "--fail-severity=warn"]),
    ],
)
def test_the_linters_of_npm_find_nothing(document: dict[str, Any], tool: str, arguments: list[str], tmp_path: Path) -> None:
    """`scripts/test.sh` installs both where there is npm; the rules above hold the same without."""
    program = find_tool(tool)
    if program is None:
        missing_tool(f"{tool} is not installed: npm install --prefix .venv/npm @redocly/cli @stoplight/spectral-cli")
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    done = subprocess.run(
        [str(program), *arguments, str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | quiet,
    )
    assert done.returncode == 0 and "warning" not in done.stdout.lower(), done.stdout[-4000:] + done.stderr[-2000:]
