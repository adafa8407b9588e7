"""Durable state on SQLAlchemy: SQLite (WAL) by default, PostgreSQL by URL. Implements `agents.ports.Store`."""
