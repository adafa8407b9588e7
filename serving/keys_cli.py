"""`keepword keys …`: API keys of the configured desk's database."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from agents.domain.errors import BadInput
from serving.admission.keys import KeyRecord, new_key
from serving.admission.tickets import Limits, Scope
from serving.clock import SystemClock
from serving.http.tokens import kept_secret
from serving.settings import Settings
from serving.stores.api_keys import ApiKeyStore
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore

app = typer.Typer(no_args_is_help=True)
R = TypeVar("R")
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def keys() -> None:
    """API keys: create, list, revoke."""


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is; operators are known to others by it.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it opens; give it several times. Default: turns.")] = None,
    tenant: Annotated[str, typer.Option(help="The only tenant it speaks for; default: the house, every tenant.")] = "",
    turns_in_flight: Annotated[int | None, typer.Option(min=1, help="Of a tenant, over all replicas.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Output tokens; uncached input counts half.")] = None,
    weight: Annotated[float, typer.Option(min=0.01, help="A tenant's share of a busy engine, against others' (1).")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it. It is shown this once: the database keeps its digest."""
    for field, value in (("name", name), ("tenant", tenant)):
        if len(value) > 64 or (field == "name" and not value.strip()):
            raise BadInput(f"{value!r} is no {field}", field=field, hint="At most 64 characters.")
    key, key_id, digest = new_key()
    limits = Limits(turns_in_flight, tokens_per_minute, weight)
    scopes = frozenset(scope or [Scope.TURNS])
    record = KeyRecord(key_id, digest, tenant, name.strip(), scopes, limits, SystemClock().now())
    _with_store(lambda store: store.add(record))
    if as_json:
        print(json.dumps({"key": key, **_row(record)}))
        return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"key {key_id} for {_whom(record)}, {', '.join(sorted(scopes))}; it is not shown again:")
    print(key)


@app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """Every key, never the key itself."""
    records = _with_store(lambda store: store.all())
    if as_json:
        print(json.dumps({"keys": [_row(each) for each in records]}))
        return
    table = Table()
    for column in ("id", "name", "tenant", "scopes", "turns in flight", "tokens a minute", "weight", "made", ""):
        table.add_column(column)
    for each in records:
        bounds = [str(bound or "") for bound in (each.limits.turns_in_flight, each.limits.tokens_per_minute)]
        made = each.created_at.strftime("%Y-%m-%d %H:%M")
        scopes = " ".join(sorted(each.scopes))
        state = "revoked" if each.revoked else ""
        table.add_row(each.id, each.name, each.tenant, scopes, *bounds, f"{each.limits.weight:g}", made, state)
    Console().print(table)


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="The id, as `keepword keys list` shows it.")]) -> None:
    """A key opens nothing any more, nor do the sessions it opened: every replica knows within seconds."""
    record = _with_store(lambda store: store.revoke(key_id, SystemClock().now()))
    Console(soft_wrap=True, highlight=False).print(f"key {record.id} ({_whom(record)}) is revoked")


def _whom(record: KeyRecord) -> str:
    return f"{record.name} of {record.tenant}" if record.tenant else f"{record.name} of the house"


def _row(record: KeyRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "name": record.name,
        "tenant": record.tenant,
        "scopes": sorted(record.scopes),
        "turns_in_flight": record.limits.turns_in_flight,
        "tokens_per_minute": record.limits.tokens_per_minute,
        "weight": record.limits.weight,
        "created_at": record.created_at.isoformat(),
        "revoked": record.revoked,
    }


def _with_store(run: Callable[[ApiKeyStore], Awaitable[R]]) -> R:
    settings = Settings.load()

    async def opened() -> R:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        secret = settings.secret or kept_secret(settings.data_dir / "secret")
        store = await SqlStore.open(settings.store_url, SystemClock(), Signer(secret))
        try:
            return await run(ApiKeyStore(store.engine))
        finally:
            await store.close()

    return asyncio.run(opened())
