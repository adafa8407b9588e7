"""API keys: made once, kept as digests, checked in microseconds, revoked within seconds.

A key is `kw_<id>_<secret>`. The secret is 256 random bits, so one SHA-256 of the whole key is enough at rest: slow password
hashing protects what people can guess, and nobody guesses that. What the database holds opens nothing.
"""

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from agents.domain.errors import NotAllowed
from serving.admission.tickets import Caller, Limits, Priority, Scope, priority_of

PREFIX = "kw_"
_FORM = re.compile(r"kw_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
BELIEVED_S = 2.0  # a replica asks the database again after this long: a revocation holds by then
CACHED = 4096
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as the database has it. `digest` is SHA-256 of the whole key, hexadecimal."""

    id: str
    digest: str
    tenant: str
    name: str
    scopes: frozenset[Scope]
    limits: Limits = field(default_factory=Limits)
    created_at: datetime = EPOCH
    revoked: bool = False

    def caller(self) -> Caller:
        return Caller(self.tenant, self.scopes, priority_of(self.scopes), self.limits, self.name, self.id)


class KeyStore(Protocol):
    async def find(self, key_id: str) -> KeyRecord | None: ...


def new_key() -> tuple[str, str, str]:
    """A fresh key with its id and digest. The key itself is kept nowhere."""
    key_id = secrets.token_hex(6)
    key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
    return key, key_id, digest_of(key)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


HOUSE = Caller("", frozenset(Scope) - {Scope.BATCH}, Priority.CUSTOMER, name="dev")
"""Who calls a desk that wants no keys."""


class ApiKeys:
    """Checks keys. What the database said is believed for `BELIEVED_S`, also that there is no such key."""

    def __init__(self, store: KeyStore, monotonic: Callable[[], float]) -> None:
        self._store, self._monotonic = store, monotonic
        self._cache: OrderedDict[str, tuple[float, KeyRecord | None]] = OrderedDict()

    async def caller(self, key: str) -> Caller:
        """Whom `key` speaks for. Raises NotAllowed for one that is malformed, unknown, wrong or revoked, all alike."""
        refused = NotAllowed("this API key is not valid", hint="Make one with `keepword keys create`.")
        if (form := _FORM.fullmatch(key)) is None:
            raise refused
        record = await self._record(form[1])
        if record is None or record.revoked or not hmac.compare_digest(digest_of(key), record.digest):
            raise refused
        return record.caller()

    async def holder(self, key_id: str) -> Caller:
        """Whom a key spoke for that opened a session. Raises NotAllowed once it is revoked."""
        record = await self._record(key_id)
        if record is None or record.revoked:
            raise NotAllowed("the API key this session was opened with is revoked", hint="Open a new session.")
        return record.caller()

    async def _record(self, key_id: str) -> KeyRecord | None:
        now = self._monotonic()
        found = self._cache.get(key_id)
        if found is not None and now - found[0] < BELIEVED_S:
            return found[1]
        record = await self._store.find(key_id)
        self._cache[key_id] = (now, record)
        self._cache.move_to_end(key_id)
        while len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return record
