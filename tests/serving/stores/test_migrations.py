"""The migrations make exactly the tables the code knows."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from serving.stores import tables
from serving.stores.migrate import upgrade


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
