"""The migrations make exactly the tables the code knows."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from agents.domain.words import ActionStatus
from serving.stores import tables
from serving.stores.migrate import configuration, upgrade
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock


async def test_the_schema_after_all_migrations_is_the_one_of_the_tables(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, tables.metadata))

    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    engine = create_async_engine(database_url)
    for _ in range(2):
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    await engine.dispose()


async def test_a_line_of_before_offers_had_several_writes_is_an_offer_of_one(database_url: str) -> None:
    def before(connection: Connection) -> None:
        command.upgrade(configuration(connection), "0002")
        names = "key, session_id, customer_id, action, args, amount_cents, status, result, at"
        values = "'of_1', 's', 'C-1', 'refund', '{}', 500, 'done', '{}', '2026-01-01 00:00:00.000000'"
        connection.execute(text(f"INSERT INTO actions ({names}) VALUES ({values})"))

    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.run_sync(before)
    await engine.dispose()
    store = await SqlStore.open(database_url, SetClock(), Signer("secret"))
    (line,) = await store.lines("of_1")
    assert (line.key, line.offer_id, line.step, line.undoes, line.status) == ("of_1", "", 0, "", ActionStatus.DONE)
    await store.close()
