"""Signed tokens: `customer` binds a person to a customer id, `session` opens one session. HMAC-SHA256, with expiry."""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agents.domain.errors import NotAllowed
from agents.ports import Clock

Kind = Literal["customer", "session"]
LIFETIME_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token speaks for. `market` and `tenant` choose the parameters: who signs decides, not the customer. `key` is the
    id of the API key a session was opened with."""

    subject: str
    market: str = ""
    tenant: str = ""
    key: str = ""


class Tokens:
    """Makes and reads tokens `payload.signature`, both base64url. The comparison takes constant time."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._keyed, self._clock = hmac.new(secret.encode(), digestmod=hashlib.sha256), clock

    def make(
        self, kind: Kind, subject: str, *, market: str = "", tenant: str = "", key: str = "", lifetime_s: int = LIFETIME_S
    ) -> str:
        expires = int(self._clock.now().timestamp()) + lifetime_s
        payload = _encode(json.dumps([kind, subject, expires, market, tenant, key], separators=(",", ":")).encode())
        return f"{payload}.{self._sign(payload)}"

    def read(self, kind: Kind, token: str) -> Bearer:
        """Whom the token speaks for. Raises NotAllowed for a forged, malformed, expired or other kind of token."""
        payload, _, signature = token.partition(".")
        refused = NotAllowed(f"this {kind} token is not valid", hint="Open a new session.")
        if not token.isascii() or not hmac.compare_digest(self._sign(payload), signature):
            raise refused
        try:
            found, subject, expires, market, tenant, *key = json.loads(
                base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            )
        except ValueError as error:
            raise refused from error
        if found != kind or expires < self._clock.now().timestamp():
            raise refused
        return Bearer(str(subject), str(market), str(tenant), str(key[0]) if key else "")

    def _sign(self, payload: str) -> str:
        signing = self._keyed.copy()  # unlike hmac.digest it keeps the interpreter's lock: no thread comes between
        signing.update(payload.encode())
        return _encode(signing.digest())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def kept_secret(path: Path) -> str:
    """The secret in `path`, made on first use, readable by its owner alone."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32), encoding="ascii")
    return path.read_text(encoding="ascii").strip()
