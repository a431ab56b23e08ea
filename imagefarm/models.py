"""Add, pull, verify and remove models, and follow the operations that do so; the key needs the scope admin."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote

import httpx

from core.model_operations import ENDED
from core.schemas.model_files import AddedModel, AddModelRequest, ModelFileList
from core.schemas.model_operations import ModelOperation, ModelOperationList
from imagefarm.errors import WaitTimeout
from imagefarm.transport import Transport

PATH = "/v1/models"
OPERATIONS = "/v1/model-operations"
WAIT_SECONDS = 20.0


class ModelManagement:
    """The calls that change models, as `ImageFarm.model_management`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def files(self) -> ModelFileList:
        """Return the weight files that the API reads on its machine."""
        return self._transport.read(ModelFileList, "GET", f"{PATH}/files")

    def add(
        self,
        path: str | None = None,
        *,
        repo: str | None = None,
        name: str | None = None,
        text_encoder: str | None = None,
        text_encoder_2: str | None = None,
        vae: str | None = None,
        base: str | None = None,
    ) -> AddedModel:
        """Add a model of files that `files` lists, or of a repository of the hub. Raises InvalidInput, Conflict."""
        wanted = AddModelRequest(
            path=path, repo=repo, name=name, text_encoder=text_encoder, text_encoder_2=text_encoder_2, vae=vae, base=base
        )
        body = wanted.model_dump(exclude_none=True)
        return self._transport.read(AddedModel, "POST", PATH, json=body, repeatable=False)

    def remove(self, model: str) -> None:
        """Remove a model that was added from the list; its files stay. Raises Conflict for any other model."""
        self._transport.send("DELETE", _path(model), repeatable=False)

    def pull(self, model: str) -> ModelOperation:
        """Start to download a model's weights, or return the pull that is under way."""
        return self._transport.read(ModelOperation, "POST", f"{_path(model)}/pull")

    def verify(self, model: str) -> ModelOperation:
        """Start to compare a model's weight files with their checksums, or return the check that is under way."""
        return self._transport.read(ModelOperation, "POST", f"{_path(model)}/verify")

    def remove_weights(self, model: str) -> ModelOperation:
        """Start to delete a model's pulled weights. Raises Conflict while a live worker serves it."""
        return self._transport.read(ModelOperation, "DELETE", _path(model), params={"weights": True})

    def operations(self, model: str | None = None) -> ModelOperationList:
        """Return the latest operations, newest first."""
        params = {} if model is None else {"model": model}
        return self._transport.read(ModelOperationList, "GET", OPERATIONS, params=params)

    def get(self, operation: ModelOperation | str) -> ModelOperation:
        """Return the current state of an operation."""
        return self._transport.read(ModelOperation, "GET", _operation_path(operation))

    def cancel(self, operation: ModelOperation | str) -> ModelOperation:
        """Cancel an operation; a partial download is kept, and the next pull resumes it."""
        return self._transport.read(ModelOperation, "POST", f"{_operation_path(operation)}/cancel")

    def wait(
        self,
        operation: ModelOperation | str,
        *,
        timeout_seconds: float | None = None,
        on_progress: Callable[[ModelOperation], None] | None = None,
    ) -> ModelOperation:
        """Return the operation once it has ended; its `state` is how. Calls `on_progress` at each change.

        Raises WaitTimeout after `timeout_seconds`; the operation continues.
        """
        end = float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
        latest, tag = self._changed(operation, None, 0.0)
        while True:
            if on_progress is not None and latest is not None:
                on_progress(latest)
            if latest is not None and latest.state in ENDED:
                return latest
            remaining = end - time.monotonic()
            if remaining <= 0:
                raise WaitTimeout(f"The operation had not ended after {timeout_seconds:g} s; it continues on the farm.")
            latest, tag = self._changed(operation, tag, min(WAIT_SECONDS, remaining))

    def _changed(
        self, operation: ModelOperation | str, tag: str | None, seconds: float
    ) -> tuple[ModelOperation | None, str | None]:
        """Return the operation and its tag at its next change; None when there was none in that time."""
        headers = {} if tag is None else {"If-None-Match": tag}
        params = {"wait": round(seconds, 3)}
        path = _operation_path(operation)
        response = self._transport.send("GET", path, params=params, headers=headers, wait_seconds=seconds)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return None, tag
        return self._transport.parse(ModelOperation, response), response.headers.get("ETag")


def _path(model: str) -> str:
    return f"{PATH}/{quote(model, safe='')}"


def _operation_path(operation: ModelOperation | str) -> str:
    return f"{OPERATIONS}/{quote(operation if isinstance(operation, str) else operation.id, safe='')}"
