"""Alembic's environment: it migrates on the connection that `serving.stores.migrate` hands in."""

from alembic import context

from serving.stores.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
