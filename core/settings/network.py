"""Settings of addresses: where the API and Flower listen, under which names, and who may call."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr

from core.settings.value_types import HostNames, Networks, PublicUrl


class NetworkSettings(BaseModel):
    """Addresses of the API and of Flower, and how their callers are checked."""

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(7860, ge=0, le=65535, description="Port of the API and the web page; 0 takes a free one.")
    open_access: bool = Field(
        False,
        description="Listen off loopback before any API key was created. Set it only behind a proxy or the like that "
        "authenticates callers. Once a key was created, every caller needs one, whatever is set here.",
    )
    allowed_hosts: HostNames = Field(
        (),
        description="Host names, separated by commas, that the API answers to besides loopback names and `host`, such as "
        "`farm.example,host.docker.internal`. Empty and `host` is `0.0.0.0` or `::`: also the machine's own name and "
        "addresses. `*`: every name, which lets web sites use DNS rebinding.",
    )
    url: str = Field(
        "", description="URL of the farm for commands and the client. Empty: `host` and `port` on this machine."
    )
    public_url: PublicUrl = Field(
        "",
        description="Where clients see the farm behind a proxy, such as `https://example.com/farm`: links in answers follow "
        "it. Empty: links are paths without a prefix.",
    )
    trusted_proxies: Networks = Field(
        "",
        description="Addresses and networks of proxies, with commas between them, whose X-Forwarded-Proto, -Host and "
        "-Prefix are used, such as `127.0.0.1, 10.0.0.0/8`. Empty: no proxy's.",
    )
    api_key: SecretStr = Field(SecretStr(""), description="API key that commands and the client send.")
    flower_host: str = Field("127.0.0.1", description="Address Flower listens on.")
    flower_port: int = Field(5555, ge=0, le=65535, description="Port of Flower; 0 takes a free one.")
    flower_basic_auth: SecretStr = Field(SecretStr(""), description="`user:password` for Flower; required off loopback.")
