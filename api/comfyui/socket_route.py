"""Route of the web socket."""

from __future__ import annotations

import json
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.websockets import WebSocket

from api.comfyui import messages
from api.comfyui.errors import comfyui_error
from api.comfyui.face import ComfyFace, with_address
from api.comfyui.sockets import Socket, encoded
from api.dependencies import identified
from api.threads import in_thread
from core.api_keys import Scope
from core.errors import FarmError
from core.ids import new_id
from db.comfyui import count_open

router = APIRouter()

_MAX_CLIENT_ID = 100


@router.websocket("/ws")
async def follow(websocket: WebSocket) -> None:
    """Send the events of the client's prompts: `clientId` is what it sends as `client_id` with them."""
    face: ComfyFace = websocket.app.state.comfyui
    try:
        caller = await identified(cast("Request", websocket), websocket.headers.get("x-client-label"))
        caller.require(Scope.READ_OWN)
        caller = with_address(caller, websocket.client.host if websocket.client else None)
        count = (await in_thread(count_open, face.farm.database, [caller.owner]))[caller.owner]
    except FarmError as error:
        await websocket.send_denial_response(comfyui_error(error, cast("Request", websocket)))
        return
    wanted = websocket.query_params.get("clientId", "")[:_MAX_CLIENT_ID]
    sid = wanted if wanted.isprintable() and wanted else new_id().replace("-", "")
    await websocket.accept()
    socket = Socket(websocket, (caller.owner, sid))
    socket.send(encoded(messages.status(count, sid)))
    for event in face.runner.current_node(socket.key):
        socket.send(encoded(event))
    face.runner.observe()
    face.runner.sockets.join(socket)
    try:
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            if _names_features(message):
                socket.send(encoded(("feature_flags", {"supports_preview_metadata": False})))
    finally:
        face.runner.sockets.leave(socket)


def _names_features(message: Any) -> bool:  # noqa: ANN401 -- an ASGI message
    """Return whether a client says what it can, which it does first and expects an answer to."""
    try:
        found = json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("type") == "feature_flags"
