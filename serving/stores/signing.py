"""Signatures of the audit log: Ed25519 (RFC 8032), the key derived from the stack's secret (HKDF, RFC 5869).

Whoever has the public key can verify; whoever can only write the database cannot forge.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agents.domain.errors import BadInput

PURPOSE = b"keepword audit log"


class Signer:
    """Signs with the key that follows from `secret`: every replica with the same secret has the same key."""

    def __init__(self, secret: str) -> None:
        seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, text: str) -> str:
        """The signature, 128 hexadecimal digits."""
        return self._key.sign(text.encode()).hex()

    @property
    def verifier(self) -> "Verifier":
        return Verifier(self._key.public_key().public_bytes_raw().hex())


class Verifier:
    """Checks with a public key of 64 hexadecimal digits. Raises BadInput when it is none."""

    def __init__(self, public_key: str) -> None:
        self.public_key = public_key
        try:
            self._key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        except ValueError as error:
            raise BadInput("this is no Ed25519 public key", field="key", hint="64 hexadecimal digits.") from error

    def holds(self, text: str, signature: str) -> bool:
        try:
            self._key.verify(bytes.fromhex(signature), text.encode())
        except (ValueError, InvalidSignature):
            return False
        return True


def event_text(session_id: str, seq: int, event_hash: str) -> str:
    """What an event's signature covers; its hash covers everything before it."""
    return f"event {session_id} {seq} {event_hash}"


def head_text(session_id: str, seq: int, event_hash: str) -> str:
    """What a session's head says: the log ends here."""
    return f"head {session_id} {seq} {event_hash}"
