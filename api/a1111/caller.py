"""Who calls the A1111 face: its clients send no label, so the address keeps them apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request

from api.caller import ANONYMOUS, Caller, labelled
from api.dependencies import CallerDependency


async def get_a1111_caller(request: Request, caller: CallerDependency) -> Caller:
    """Without key or label: one owner per address, so that nobody interrupts another machine's work."""
    if caller.owner != ANONYMOUS:
        return replace(caller, sees_all=False)
    host = request.client.host if request.client else "unknown"
    return replace(labelled(f"a1111@{host}"), sees_all=False)


A1111Caller = Annotated[Caller, Depends(get_a1111_caller)]
