"""`imagefarm mcp`: the farm's tools for assistants, over standard input and output."""

from __future__ import annotations

import typer

from cli.options import CLIENT_LABEL, Url, load_settings, needs


def register(app: typer.Typer) -> None:
    app.command()(mcp)


@needs("mcp")
def mcp(url: Url = None) -> int:
    """Let an assistant render: serve MCP's tools over standard input and output, for programs that start this command.

    The key comes from IMAGEFARM_API_KEY. A farm serves the same tools at its address /mcp.

    Example: `IMAGEFARM_URL=http://farm:7860 imagefarm mcp`
    """
    import httpx

    from api.mcp.calls import FarmCalls
    from api.mcp.tools import make_server
    from cli.exit_codes import ExitCode
    from imagefarm.address import farm_url
    from imagefarm.transport import in_utf8

    settings = load_settings(url=url)
    address = farm_url(settings).rstrip("/")
    key = settings.api_key.get_secret_value()
    headers = {"X-Client-Label": f"{CLIENT_LABEL}-mcp"} | ({"Authorization": f"Bearer {key}"} if key else {})
    http = httpx.AsyncClient(base_url=address, headers=in_utf8(headers), timeout=60.0)
    make_server(lambda _: FarmCalls(http, address)).run("stdio")
    return ExitCode.OK
