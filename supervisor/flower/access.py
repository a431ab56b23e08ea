"""Who may read Flower: this machine's programs, or whoever knows the password; nobody may steer the farm through it."""

from __future__ import annotations

import http
import os

from flower.app import Flower
from flower.views import BaseHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler

from core.exposure import is_loopback
from core.settings import Settings

OPEN_API_VARIABLE = "FLOWER_UNAUTHENTICATED_API"


def open_api_on_loopback(settings: Settings) -> None:
    """Flower's HTTP API without a password, where only this machine can reach it.

    Flower then also tells browsers that any web site may read it. The farm's prompts are none of their business,
    so that header is taken out.
    """
    if settings.flower_basic_auth.get_secret_value() or not is_loopback(settings.flower_host):
        os.environ.pop(OPEN_API_VARIABLE, None)
        return
    os.environ[OPEN_API_VARIABLE] = "true"
    BaseHandler.set_default_headers = _no_cross_origin_headers


class GuardedFlower(Flower):  # type: ignore[misc]
    """Flower that, without a password, answers only requests addressed to a loopback name.

    A web site that points its own host name at 127.0.0.1 is turned away by that.
    """

    def find_handler(self, request: HTTPServerRequest, **kwargs: object) -> object:
        if not self.options.basic_auth and not is_loopback(request.host_name):
            return self.get_handler_delegate(request, _Refused)
        return super().find_handler(request, **kwargs)


class _Refused(RequestHandler):
    def prepare(self) -> None:
        raise HTTPError(http.HTTPStatus.FORBIDDEN, reason="Not a loopback host name")


def _no_cross_origin_headers(handler: RequestHandler) -> None:
    handler.set_header("X-Content-Type-Options", "nosniff")
