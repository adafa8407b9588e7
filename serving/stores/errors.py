"""The store's own error, for whoever must know it without a database driver."""

from agents.domain.errors import KeepwordError


class StoreUnavailable(KeepwordError):
    """The database does not answer or refused the statement."""

    type = "store-unavailable"
    retryable = True
    hint = "Is the database up, and KEEPWORD_DATABASE_URL right?"
