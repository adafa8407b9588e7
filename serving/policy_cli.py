"""`keepword policy …`: is the pack sound, and why does it rule as it does?"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from agents.domain.errors import BadInput, Mistake, NotFound, PackInvalid
from agents.domain.pack import Pack
from agents.domain.words import ActionRecord, Facts, Proposal
from agents.packs.loader import load_pack, tools_module
from agents.policy.engine import PolicyEngine
from agents.policy.explain import Explanation
from agents.policy.explain import explain as explain_proposal
from agents.policy.steps import as_if_planned
from agents.ports import ToolCall
from agents.tools.backoffice import PackBackOffice
from agents.tools.gather import gather
from agents.tools.registry import collect
from serving.settings import Settings

app = typer.Typer(no_args_is_help=True)
PackOption = Annotated[str, typer.Option(help="A pack's name or folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def policy() -> None:
    """A pack's policy: check it, explain its verdicts."""


@app.command("check")
def check(pack: PackOption = "shop", as_json: JsonOption = False) -> None:
    """Report every mistake in a pack with file and line. Exit status 1 when there is one."""
    check_pack(pack, as_json=as_json)


def check_pack(pack: str, *, as_json: bool) -> None:
    """Print what is wrong with a pack, or that it is sound, and exit with 1 or 0."""
    mistakes: tuple[Mistake, ...] = ()
    summary: dict[str, object] = {}
    try:
        loaded = load_pack(pack, thorough=True)
        summary = {
            "name": loaded.name,
            "clauses": len(loaded.clauses),
            "scenarios": len(loaded.scenarios),
            "exemplars": len(loaded.exemplars),
        }
    except PackInvalid as error:
        mistakes = error.mistakes
    if as_json:
        rows = [{"file": m.file, "line": m.line, "message": m.message, "hint": m.hint} for m in mistakes]
        print(json.dumps({"ok": not mistakes, "mistakes": rows, **summary}, ensure_ascii=False))
    else:
        console = _console()
        for mistake in mistakes:
            console.print(str(mistake))
        counts = ", ".join(f"{value} {key}" for key, value in summary.items() if key != "name")
        console.print(_mistakes(len(mistakes)) if mistakes else f"{summary['name']} is sound: {counts}")
    raise typer.Exit(1 if mistakes else 0)


@app.command("explain")
def explain(
    scenario: Annotated[str, typer.Argument(help="The scenario's id, for example change_of_mind.")],
    pack: PackOption = "shop",
    customer: Annotated[str | None, typer.Option(help="Read the facts of this customer from fresh demo data.")] = None,
    slot: Annotated[list[str] | None, typer.Option(help="A slot as NAME=VALUE, for example order_id=KW-1042.")] = None,
    facts_file: Annotated[Path | None, typer.Option("--facts", help='A JSON file: {"order": {"status": …}, …}.')] = None,
    action: Annotated[str | None, typer.Option(help="Judge this action; otherwise every rung of the ladder.")] = None,
    args: Annotated[str, typer.Option(help="The action's arguments as JSON.")] = "{}",
    confirmed: Annotated[bool, typer.Option(help="As if the customer had said yes.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge what a scenario may offer on given facts: verdicts, every clause with what it read, what would change it."""
    loaded = load_pack(pack)
    if scenario not in loaded.scenarios:
        raise NotFound(f"no scenario named {scenario!r}", hint=f"The pack has: {', '.join(loaded.scenarios)}.")
    facts = _facts_in(facts_file) if facts_file is not None else {}
    if customer is not None:
        slots = dict(_pair(each) for each in slot or ())
        facts = {**asyncio.run(_facts_of(loaded, scenario, customer, slots)), **facts}
    engine = PolicyEngine(loaded)
    rows = _explained(loaded, engine, scenario, facts, action, args, confirmed=confirmed)
    if as_json:
        rulings = [_row(place, each) for place, each in rows]
        print(json.dumps({"facts": facts, "rulings": rulings}, ensure_ascii=False))
        return
    console = _console()
    for place, each in rows:
        _show(console, place, each)
    if not rows:
        console.print(f"scenario {scenario} has no ladder: nothing is offered")


@app.command("diff")
def diff(
    pack: Annotated[str, typer.Argument(help="The changed pack's name or folder.")] = "shop",
    param: Annotated[list[str] | None, typer.Option(help="Override a parameter: NAME=VALUE, the value as JSON.")] = None,
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay recorded sessions under a changed policy: every decision that would change. Exit status 1 when one would."""
    from agents.reply.drafter import ReplyStyle
    from serving.audit_cli import open_store
    from serving.replay import as_row, changes

    settings = Settings.load()
    changed = {name: _json_value(value, name) for name, value in map(_pair, param or ())}
    loaded = load_pack(pack, parameters=changed, overrides=settings.overrides)
    specs = [bound.spec for bound in collect(tools_module(loaded.path))]
    style = ReplyStyle(settings.reply_sentences, settings.reply_tokens)

    async def run() -> tuple[int, list[dict[str, Any]]]:
        async with open_store(settings) as (store, _):
            ids = (session,) if session is not None else await store.session_ids()
            found = [change for each in ids for change in await changes(loaded, specs, each, await store.events(each), style)]
            return len(ids), [as_row(change) for change in found]

    count, rows = asyncio.run(run())
    if as_json:
        print(json.dumps({"sessions": count, "changes": rows}, ensure_ascii=False))
    else:
        console = _console()
        for row in rows:
            said = [
                f"{side['ruling']} ({', '.join(side['clauses'])})" if side else "not judged"
                for side in (row["was"], row["now"])
            ]
            call = f"{row['proposal']['action']}({json.dumps(row['proposal']['args'], ensure_ascii=False)})"
            console.print(f"{row['session_id']} event {row['seq']}: {call}: {said[0]} -> {said[1]}")
        console.print(f"{count} sessions replayed, {len(rows)} decisions would change")
    raise typer.Exit(1 if rows else 0)


def _json_value(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"{name}: {text!r} is not JSON", field="param", hint="Text needs quotes: NAME='\"text\"'.") from error


class Place(NamedTuple):
    """Where a call stands: the index of its rung (None: it was named), and which of the rung's writes it is."""

    rung: int | None
    action: str
    step: int = 1
    steps: int = 1


Explained = Explanation | tuple[str, ...]  # or the names of the facts its terms lack


def _explained(
    pack: Pack, engine: PolicyEngine, scenario: str, facts: Facts, action: str | None, args: str, *, confirmed: bool
) -> list[tuple[Place, Explained]]:
    """The call that was named, or each write of each rung, the later ones as if the ones before were in the ledger."""
    now = _now()

    def explained(proposal: Proposal, spent: Sequence[ActionRecord]) -> Explanation:
        return explain_proposal(engine, proposal, scenario=scenario, facts=facts, confirmed=confirmed, spent=spent, now=now)

    if action is not None:
        return [(Place(None, action), explained(Proposal(action, _json_object(args, "args")), ()))]
    rows: list[tuple[Place, Explained]] = []
    ladder = pack.ladders.get(pack.scenarios[scenario].ladder or "")
    for index, rung in enumerate(ladder.rungs if ladder else ()):
        spent: list[ActionRecord] = []
        for number, step in enumerate(rung.steps, 1):
            place, terms = Place(index, step.action, number, len(rung.steps)), engine.terms(step, facts=facts)
            rows.append((place, explained(terms, spent) if isinstance(terms, Proposal) else terms))
            spent += [as_if_planned(terms, number, now)] if isinstance(terms, Proposal) else []
    return rows


async def _facts_of(pack: Pack, scenario: str, customer: str, slots: Mapping[str, str]) -> Facts:
    """What the scenario's reads say of a customer, over the pack's data freshly made in a folder of its own."""
    module = tools_module(pack.path)
    with TemporaryDirectory() as folder:
        back_office = PackBackOffice(module, await module.open_back_office(Path(folder)))
        try:
            gathered = await gather(back_office, pack.scenarios[scenario].reads, slots, ToolCall(customer, _now()))
        finally:
            await back_office.close()
    for tool, why in gathered.failed.items():
        Console(stderr=True).print(f"{tool}: {why}", markup=False, highlight=False)
    return gathered.facts


def _facts_in(path: Path) -> Facts:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", field="facts") from error
    facts = _json_object(text, "facts")
    if not all(isinstance(fields, dict) for fields in facts.values()):
        raise BadInput("every fact must be an object with its fields", field="facts", hint='{"order": {"id": "…"}}')
    return facts


def _json_object(text: str, field: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{field} is not JSON: {error}", field=field) from error
    if not isinstance(value, dict):
        raise BadInput(f"{field} must be a JSON object", field=field)
    return value


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadInput(f"{text!r} is not NAME=VALUE", field="slot")
    return name, value


def _row(place: Place, each: Explained) -> dict[str, Any]:
    """`step` of `steps`: a rung of several writes is offered only where every one of them may be."""
    where = {"rung": place.rung, "step": place.step, "steps": place.steps}
    if not isinstance(each, Explanation):
        return where | {"ruling": "needs-fact", "missing": list(each), "clauses": [], "changes": []}
    verdict = each.verdict
    return where | {
        "action": verdict.proposal.action,
        "args": dict(verdict.proposal.args),
        "ruling": verdict.ruling.value,
        "missing": list(verdict.missing),
        "clauses": [asdict(line) | {"effect": line.effect.value} for line in each.lines],
        "changes": list(each.changes),
    }


def _show(console: Console, place: Place, each: Explained) -> None:
    if place.steps > 1:
        console.print(f"step {place.step} of {place.steps}, all or none:")
    if not isinstance(each, Explanation):
        console.print(f"{place.action}: needs-fact, its terms lack {', '.join(each) or 'values that can be computed'}\n")
        return
    verdict = each.verdict
    terms = ", ".join(f"{name}={value!r}" for name, value in verdict.proposal.args.items())
    missing = f", missing {', '.join(verdict.missing)}" if verdict.missing else ""
    console.print(f"{verdict.proposal.action}({terms}): {verdict.ruling.value}{missing}")
    for line in each.lines:
        said = "unknown" if line.holds is None else str(line.holds).lower()
        values = "  ".join(f"{name}={value!r}" for name, value in line.values.items())
        console.print(f"  {'*' if line.decided else ' '} {line.effect.value:7} {line.clause_id}: {said}    {values}")
    for change in each.changes:
        console.print(f"  -> {change}")
    console.print()


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)


def _mistakes(count: int) -> str:
    return "1 mistake" if count == 1 else f"{count} mistakes"


def _now() -> datetime:
    return datetime.now(UTC)
