"""Every store test runs twice: on SQLite and on a real PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.postgres import running_postgres
from serving.settings import Settings
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database's URL, with its async driver."""
    if request.param == "sqlite":
        return Settings.load(data_dir=tmp_path).store_url
    url = Settings.load(database_url=request.getfixturevalue("postgres")).store_url
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    return url


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(database_url: str, clock: SetClock) -> AsyncIterator[SqlStore]:
    opened = await SqlStore.open(database_url, clock, Signer("secret"))
    yield opened
    await opened.close()
