"""Join a farm from another machine: ask its API for the addresses, keep them in a private file, list the devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import ValidationError

from core.errors import FarmError, InvalidInput, NotFound, Unavailable
from core.node import node_name
from core.schemas.base import Problem
from core.schemas.nodes import JoinAnswer
from core.settings import Settings
from core.storage_url import FileLocation, parse_storage_url
from core.version import VERSION
from supervisor import data_dir
from supervisor.plan import visible_cards

FILE_NAME = "join.json"
_SECONDS = 30.0


class JoinRefused(FarmError):
    """The farm did not let this machine join; the message is the farm's."""

    code = "join_refused"


def request_join(settings: Settings, url: str, token: str) -> None:
    """Use the token up and keep what the farm hands out. Raises InvalidInput, Unavailable, JoinRefused."""
    data_dir.prepare(settings.data_dir)
    body = {"token": token, "node": node_name(settings), "version": VERSION}
    try:
        response = httpx.post(f"{url.rstrip('/')}/v1/join", json=body, timeout=_SECONDS)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise InvalidInput("The farm's address is not a URL: write one such as http://farm:7860.", field="url") from None
    except httpx.TransportError as error:
        raise Unavailable(
            f"The farm at {url} does not answer ({error}): check the address, firewalls and certificates.",
            code="farm_unreachable",
        ) from error
    if not response.is_success:
        raise _refusal(url, response)
    try:
        answer = JoinAnswer.model_validate_json(response.content)
    except ValidationError:
        raise _not_a_farm(url) from None
    _check_folder(answer)
    write_join_file(settings.data_dir / FILE_NAME, answer)


def _refusal(url: str, response: httpx.Response) -> FarmError:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _not_a_farm(url)
    return JoinRefused(problem.detail, code=problem.code)


def _not_a_farm(url: str) -> FarmError:
    return FarmError(f"The server at {url} is no farm of this version of imagefarm: check the address.", code="not_a_farm")


def _check_folder(answer: JoinAnswer) -> None:
    """Raise NotFound unless a folder of images is here the one that the farm just wrote to."""
    location = parse_storage_url(answer.storage_url)
    if not isinstance(location, FileLocation) or answer.storage_marker is None:
        return
    if not (location.root / "images" / Path(answer.storage_marker).name).exists():
        raise NotFound(
            f"{location.root} on this machine is not the folder in which the farm stores images: mount it here under the "
            "same path, or let the farm store in a bucket (IMAGEFARM_STORAGE_URL). Then join with a new token.",
            code="storage_not_shared",
        )


def write_join_file(file: Path, answer: JoinAnswer) -> None:
    """Replace the file in one step; nobody but its owner can ever read it."""
    partial = file.with_name(f"{file.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(answer.model_dump_json(indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def joined_settings(settings: Settings, load: Callable[[Mapping[str, str]], Settings]) -> Settings:
    """Return the settings with what the farm handed out. Raises InvalidInput when this machine has not joined."""
    file = settings.data_dir / FILE_NAME
    try:
        answer = JoinAnswer.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(
            "This machine has not joined a farm: run the line that `imagefarm join-command` prints on the control box."
        ) from None
    except ValidationError:
        raise InvalidInput(f"{file} is damaged: remove it and join again with a new token.") from None
    names = ("redis_url", "redis_prefix", "database_url", "storage_url")
    return load({name: getattr(answer, name) for name in names})


@dataclass(frozen=True)
class Device:
    """A device that gets a worker, and the environment that shows the worker only this one."""

    label: str
    environment: Mapping[str, str]


def find_devices(wanted: str) -> list[Device]:
    """Return the devices that `--device` names. Raises InvalidInput."""
    cpu = Device("cpu", {"IMAGEFARM_DEVICE": "cpu"})
    cards = visible_cards()
    if wanted == "cpu" or (wanted == "all" and not cards):
        return [cpu]
    chosen = list(range(len(cards))) if wanted == "all" else _numbers(wanted)
    if missing := [number for number in chosen if number >= len(cards)]:
        raise InvalidInput(f"This machine has {len(cards)} GPUs, numbered from 0, and none of number {missing[0]}.")
    return [
        Device(f"cuda{number}", {"CUDA_VISIBLE_DEVICES": cards[number], "IMAGEFARM_DEVICE": "auto"})
        for number in dict.fromkeys(chosen)
    ]


def _numbers(text: str) -> list[int]:
    parts = [part.strip().removeprefix("cuda:") for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 4 for part in parts):
        raise InvalidInput("--device is `all`, `cpu`, or numbers of GPUs with commas between them, such as `0,1`.")
    return [int(part) for part in parts]
