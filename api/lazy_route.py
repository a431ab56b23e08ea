"""Routes that FastAPI analyses when the first request or the OpenAPI document wants them, rather than at the API's start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import compile_path, get_name

Build = Callable[[], None]
_building = threading.RLock()


class LazyRoute(APIRoute):
    """Has what a request is matched by. Whatever else is wanted of it lets FastAPI analyse the endpoint and its models.

    The API's start would wait for that. What is wrong with an endpoint shows only then.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 -- FastAPI's own
        self._build: Build | None = lambda: super(LazyRoute, self).__init__(path, endpoint, **options)
        self.path, self.endpoint = path, endpoint
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.name = options.get("name") or get_name(endpoint)
        self.methods = {method.upper() for method in options.get("methods") or ("GET",)}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- any attribute of a route
        if name.startswith("__"):
            raise AttributeError(name)
        with _building:
            build = self.__dict__.get("_build")
            if build is not None:
                self._build = None
                try:
                    self.build(build)
                except BaseException:
                    self._build = build
                    raise
            try:
                return self.__dict__[name]
            except KeyError:
                raise AttributeError(f"a route has no attribute {name!r}") from None

    def build(self, build: Build) -> None:
        """Let FastAPI analyse the endpoint. Subclasses may change what it made."""
        build()
