"""Who calls the A1111 face: its clients send no label, so the address keeps them apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request

from api.caller import ANONYMOUS, Caller, clean_label
from api.dependencies import CallerDependency, SubmitterDependency


def _apart(request: Request, caller: Caller) -> Caller:
    """Without key or label: one owner per address, so that nobody interrupts another machine's work."""
    if caller.owner != ANONYMOUS:
        return caller
    label = clean_label(f"a1111@{request.client.host if request.client else 'unknown'}")
    return replace(caller, owner=f"client:{label}", label=label)


async def get_a1111_reader(request: Request, caller: CallerDependency) -> Caller:
    """A caller who may read."""
    return _apart(request, caller)


async def get_a1111_submitter(request: Request, caller: SubmitterDependency) -> Caller:
    """A caller who may submit, and cancel what is theirs."""
    return _apart(request, caller)


A1111Caller = Annotated[Caller, Depends(get_a1111_reader)]
A1111Submitter = Annotated[Caller, Depends(get_a1111_submitter)]
