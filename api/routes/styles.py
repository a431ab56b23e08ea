"""Styles: list, add, change, delete, import and export."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from api.caller import Caller
from api.dependencies import CallerDependency, FarmDependency, SubmitterDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.styles import style_of
from api.threads import in_thread
from core.api_keys import Scope
from core.errors import Conflict, NotFound
from core.ids import is_id
from core.schemas.base import iso
from core.schemas.styles import Style, StyleFields, StyleImport, StyleImported, StyleList, StyleRequest
from core.styles import BUILT_IN
from core.styles import Style as StyleTexts
from core.styles.files import StyleFormat, read_styles, write_styles
from db.styles import add_style, import_styles, list_styles, remove_style, replace_style
from db.tables import StyleRow
from db.tables.styles import SHARED

router = APIRouter(prefix="/v1/styles", tags=["styles"], route_class=LazyRoute)

_BUILT_IN_IDS = frozenset(style.name for style in BUILT_IN)
_BODY_ERRORS = (400, 408, 409, 413, 415)
StyleId = Annotated[str, Path(max_length=36, description="The style's id from the list.")]


@router.get("", response_model=StyleList, summary="List styles", responses=error_responses())
async def read_styles_of_caller(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List your own styles, the shared ones and the built-in ones. Send names as `styles` with a job."""
    return json_response(await style_list(farm, caller))


async def style_list(farm: Farm, caller: Caller) -> StyleList:
    """Return the styles that the caller may name."""
    rows = await in_thread(list_styles, farm.database, caller.owner)
    built_in = [Style(**_texts(style), id=style.name, scope="built-in", about=style.about) for style in BUILT_IN]
    return StyleList(items=[*map(_view, rows), *built_in])


@router.post("", status_code=201, response_model=Style, summary="Add a style", responses=error_responses(*_BODY_ERRORS))
async def create_style(farm: FarmDependency, caller: SubmitterDependency, wanted: StyleRequest) -> Response:
    """Add a style of your own; with `shared`, one for every caller."""
    row = await in_thread(add_style, farm.database, _owner(caller, shared=wanted.shared), _of(wanted))
    return json_response(_view(row), 201)


@router.put("/{style_id}", response_model=Style, summary="Change a style", responses=error_responses(404, *_BODY_ERRORS))
async def change_style(
    farm: FarmDependency, caller: SubmitterDependency, style_id: StyleId, wanted: StyleFields
) -> Response:
    """Replace a style's name and texts. Jobs keep the texts that they were submitted with."""
    _check_id(style_id)
    row = await in_thread(replace_style, farm.database, style_id, _owners(caller), _of(wanted))
    return json_response(_view(row))


@router.delete("/{style_id}", status_code=204, summary="Delete a style", responses=error_responses(404, 409))
async def delete_style(farm: FarmDependency, caller: SubmitterDependency, style_id: StyleId) -> Response:
    """Delete a style. Jobs keep the texts that they were submitted with."""
    _check_id(style_id)
    await in_thread(remove_style, farm.database, style_id, _owners(caller))
    return Response(status_code=204)


@router.post(
    "/import", response_model=StyleImported, summary="Import a file of styles", responses=error_responses(*_BODY_ERRORS)
)
async def import_file(farm: FarmDependency, caller: SubmitterDependency, wanted: StyleImport) -> Response:
    """Add the styles of A1111's `styles.csv`, or of a JSON file of Fooocus: all, or none when one is invalid."""
    owner = _owner(caller, shared=wanted.shared)
    styles = await in_thread(read_styles, wanted.text, wanted.format)
    found = await in_thread(import_styles, farm.database, owner, styles, replace=wanted.replace)
    return json_response(StyleImported(**found))


@router.get(
    "/export",
    response_class=Response,
    summary="Export styles to a file",
    responses=error_responses()
    | {200: {"content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {}}, "description": "The file."}},
)
async def export_file(
    farm: FarmDependency,
    caller: CallerDependency,
    format: Annotated[StyleFormat, Query(description="a1111: CSV; fooocus: JSON.")] = "a1111",
    scope: Annotated[Literal["own", "shared", "all"], Query(description="Which styles; all adds built-in ones.")] = "own",
) -> Response:
    """Return styles in a file that A1111 or Fooocus reads."""
    rows = await in_thread(list_styles, farm.database, caller.owner)
    wanted = [style_of(row) for row in rows if scope in ("all", _scope(row))]
    text = write_styles([*wanted, *(BUILT_IN if scope == "all" else ())], format)
    media, name = ("text/csv", "styles.csv") if format == "a1111" else ("application/json", "styles.json")
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-cache"}
    return Response(text, media_type=media, headers=headers)


def _owner(caller: Caller, *, shared: bool) -> str:
    if shared:
        caller.require(Scope.ADMIN)
    return SHARED if shared else caller.owner


def _owners(caller: Caller) -> list[str]:
    """Return whose styles the caller may change."""
    return [caller.owner, SHARED] if caller.may(Scope.ADMIN) else [caller.owner]


def _check_id(style_id: str) -> None:
    if style_id in _BUILT_IN_IDS:
        raise Conflict(
            f"'{style_id}' is built in: add a style of the same name, which is used in its place.", code="style_built_in"
        )
    if not is_id(style_id):
        raise NotFound("There is no style of this id; GET /v1/styles lists them.", code="style_not_found")


def _of(wanted: StyleFields) -> StyleTexts:
    return StyleTexts(wanted.name, wanted.prompt, wanted.negative_prompt)


def _texts(style: StyleTexts) -> dict[str, str]:
    return {"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative_prompt}


def _scope(row: StyleRow) -> Literal["own", "shared"]:
    return "shared" if row.owner == SHARED else "own"


def _view(row: StyleRow) -> Style:
    return Style(**_texts(style_of(row)), id=row.id, scope=_scope(row), updated_at=iso(row.updated_at))
