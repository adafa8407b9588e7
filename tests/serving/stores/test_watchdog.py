"""A PostgreSQL that crashes, and one that hangs: both are told in seconds, and both are served again afterwards."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.domain.events import SessionStarted
from bench.postgres import PostgresServer, postgres_server
from serving.clock import SystemClock
from serving.settings import Settings
from serving.stores.errors import StoreUnavailable
from serving.stores.patient import PatientStore
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[PostgresServer, SqlStore]]:
    with postgres_server(tmp_path) as server:
        url = Settings.load(database_url=server.url).store_url
        store = await SqlStore.open(url, SystemClock(), Signer("secret"), hangs_after_s=0.5)
        yield server, store
        server.thaw()
        await store.close()


async def test_a_database_that_hangs_is_unavailable_and_then_there_again(served: tuple[PostgresServer, SqlStore]) -> None:
    server, store = served
    await store.ping()
    server.freeze()
    async with asyncio.timeout(10):
        with pytest.raises(StoreUnavailable):
            await store.ping()
    server.thaw()
    await PatientStore(store, SystemClock(), patience_s=5.0).actions("C-001", since=SystemClock().now())


async def test_an_append_under_way_when_the_database_crashes_is_written_once(served: tuple[PostgresServer, SqlStore]) -> None:
    server, store = served
    patient = PatientStore(store, SystemClock(), patience_s=20.0)
    await asyncio.to_thread(server.stop, at_once=True)
    started = SessionStarted("ses_1", "shop", "C-001", "en")
    appending = asyncio.create_task(patient.append("ses_1", [started], expected_seq=0))
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await asyncio.to_thread(server.start)
    await appending
    assert [stored.event for stored in await store.events("ses_1")] == [started]
