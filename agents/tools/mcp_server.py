"""Tools of an MCP server (Model Context Protocol), for a pack's tools.py:

async def open_back_office(data_dir: Path) -> McpServer:
    return await McpServer.open("https://crm.example/mcp", needs=["find_order"])

@tool(kind="read", requires=["order_id"], provides="order")
async def get_order(crm: McpServer, call: ToolCall, order_id: str) -> Order:
    return await crm.call("find_order", Order, order_id=order_id, customer_id=call.customer_id)
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent

from agents.domain.errors import NotFound, ToolRefused
from agents.tools.remote import RemoteBroke, RemoteTool, Returned, typed

CONNECT_S = 30.0


class McpServer:
    """A connected server. Build with `open`; `close` ends the connection, and the process where it was started."""

    def __init__(self, server: str | Sequence[str], refuses: Callable[[str], bool]) -> None:
        self._server, self._refuses = server, refuses
        self._tools: dict[str, RemoteTool] = {}
        self._client: Client | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._stay())

    @classmethod
    async def open(
        cls,
        server: str | Sequence[str],
        *,
        needs: Sequence[str] = (),
        refuses: Callable[[str], bool] = lambda said: False,
        connect_s: float = CONNECT_S,
    ) -> "McpServer":
        """Connect to a URL (streamable HTTP), or start a command and talk over its standard streams. `needs` are the tools the
        pack calls; `refuses` tells from an error's text that the server refused and did nothing (an error is otherwise one of
        unknown outcome). Raises RemoteBroke when it does not answer within `connect_s`, NotFound for a tool it lacks."""
        opened = cls(server, refuses)
        try:
            async with asyncio.timeout(connect_s):
                await opened._ready
        except BaseException as error:
            await opened.close()
            if isinstance(error, Exception):
                raise RemoteBroke(f"the MCP server {server!r} cannot be reached: {error or type(error).__name__}") from error
            raise
        for name in needs:
            if name not in opened._tools:
                await opened.close()
                raise NotFound(f"the MCP server has no tool {name!r}", hint=f"It has: {', '.join(sorted(opened._tools))}.")
        return opened

    def tools(self) -> Mapping[str, RemoteTool]:
        return self._tools

    async def call(self, tool: str, returns: type[Returned], /, **args: Any) -> Returned:
        """Call a tool and give its answer as `returns`. Raises BadInput before anything is sent, ToolRefused, RemoteBroke."""
        if self._client is None:
            raise RemoteBroke(f"{tool}: the connection to the MCP server has ended")
        if tool not in self._tools:
            raise NotFound(f"the MCP server has no tool {tool!r}", hint=f"It has: {', '.join(sorted(self._tools))}.")
        self._tools[tool].check(args)
        try:
            result = await self._client.call_tool(tool, args)
        except Exception as error:
            raise RemoteBroke(f"{tool} broke: {type(error).__name__}") from error
        if result.is_error:
            said = _text(result)
            if self._refuses(said):
                raise ToolRefused(said[:200])
            raise RemoteBroke(f"{tool} failed: {said[:200]}")
        return typed(tool, _answer(tool, result), returns)

    async def close(self) -> None:
        self._stop.set()
        with suppress(Exception):
            await asyncio.wait_for(self._task, timeout=10.0)

    async def _stay(self) -> None:
        """Holds the connection in one task: its scopes must be left where they were entered."""
        server = self._server
        target = server if isinstance(server, str) else StdioServerParameters(command=server[0], args=list(server[1:]))
        try:
            async with Client(target) as client:
                listed = await client.list_tools()
                self._tools = {t.name: RemoteTool(t.name, t.description or "", t.input_schema) for t in listed.tools}
                self._client = client
                self._ready.set_result(None)
                await self._stop.wait()
        except Exception as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._client = None


def _answer(tool: str, result: CallToolResult) -> Any:
    """The structured content; without it, its one text as JSON."""
    if result.structured_content is not None:
        found = result.structured_content
        return found["result"] if set(found) == {"result"} else found
    try:
        return json.loads(_text(result))
    except ValueError as error:
        raise RemoteBroke(f"{tool} answered with text that is no JSON") from error


def _text(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))
