"""Routes that describe the farm as a ComfyUI server: its nodes, and its machines."""

from __future__ import annotations

import os
import sys
from typing import Any

from fastapi import APIRouter

from api.comfyui.errors import errors
from api.comfyui.face import ComfyCaller, FaceDependency
from api.lazy_route import LazyRoute
from api.threads import in_thread
from core.comfyui.node_kinds import NODES, object_info
from core.version import VERSION
from db.comfyui import input_names

router = APIRouter(tags=["comfyui"], route_class=LazyRoute)

COMFYUI_VERSION = "0.3.75"
"""The version whose calls and events this face speaks."""


@router.get("/object_info", summary="The nodes that graphs may have", responses=errors())
async def read_object_info(face: FaceDependency, caller: ComfyCaller) -> dict[str, Any]:
    """Describe every class of nodes, with the models, LoRAs, upscalers and your uploads to choose from."""
    lists = await _lists(face, caller)
    return {name: object_info(name, lists) for name in NODES}


@router.get("/object_info/{node_class}", summary="One class of nodes", responses=errors())
async def read_node_info(face: FaceDependency, caller: ComfyCaller, node_class: str) -> dict[str, Any]:
    """Describe one class of nodes; an empty object for a class that graphs may not have."""
    return {node_class: object_info(node_class, await _lists(face, caller))} if node_class in NODES else {}


async def _lists(face: FaceDependency, caller: ComfyCaller) -> dict[str, Any]:
    known = await face.files.get()
    return {**known.models.lists, "images": await in_thread(input_names, face.farm.database, caller.owner)}


@router.get("/system_stats", summary="The farm's machines", responses=errors())
async def read_system_stats(face: FaceDependency, caller: ComfyCaller) -> dict[str, Any]:
    """Describe the machine of the API, and the live workers as devices; the memory of their devices is unknown."""
    page = os.sysconf("SC_PAGE_SIZE")
    overview = await face.farm.overview.get()
    return {
        "system": {
            "os": os.name,
            "ram_total": page * os.sysconf("SC_PHYS_PAGES"),
            "ram_free": page * os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else 0,
            "comfyui_version": COMFYUI_VERSION,
            "imagefarm_version": VERSION,
            "python_version": sys.version,
            "pytorch_version": "",
            "embedded_python": False,
            "argv": [],
        },
        "devices": [
            {
                "name": worker.name,
                "type": worker.device.partition(":")[0],
                "index": number,
                "vram_total": 0,
                "vram_free": 0,
                "torch_vram_total": 0,
                "torch_vram_free": 0,
            }
            for number, worker in enumerate(overview.live)
        ],
    }
