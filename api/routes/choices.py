"""Choices: all that a form for jobs offers, in one response, so that a page opens with one request."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import FarmDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.routes.loras import all_loras
from api.routes.models import model_list
from api.routes.recipes import recipe_list
from api.routes.session import session_view
from api.routes.styles import style_list
from api.routes.wildcards import wildcard_list
from api.upscales import list_of
from core.api_keys import Scope
from core.errors import Unauthorized
from core.schemas.farm import Choices, Session
from core.version import VERSION

router = APIRouter(prefix="/v1/choices", tags=["session"], route_class=LazyRoute)


@router.get("", response_model=Choices, summary="What a form offers", responses=error_responses())
async def read_choices(request: Request, farm: FarmDependency) -> Response:
    """Return who you are, and the models, recipes, styles, LoRAs, upscalers and wildcards that a job may name."""
    needed = await farm.authenticator.in_force()
    try:
        caller = await farm.authenticator.caller(request, request.headers.get("x-client-label"))
        caller.require(Scope.READ_OWN)
    except Unauthorized:
        nobody = Session(keys_needed=True, signed_in=False, owner=None, scopes=[])
        return json_response(Choices(session=nobody, version=VERSION))
    return json_response(
        Choices.model_construct(
            session=session_view(caller, needed=needed),
            version=VERSION,
            flower_port=(farm.settings.flower_port or None) if caller.may(Scope.ADMIN) else None,
            models=(await model_list(farm)).data,
            recipes=recipe_list(list(farm.catalogue)).items,
            styles=(await style_list(farm, caller)).items,
            loras=(await all_loras(farm)).items,
            upscalers=(await list_of(farm)).items,
            wildcards=(await wildcard_list(farm)).items,
        )
    )
