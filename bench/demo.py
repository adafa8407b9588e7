"""`keepword bench demo`: two visits against the whole stack and the real engine, checked in the shop's own database."""

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.stack import running_stack
from bench.visitor import Turn, Visitor

SHOP_DB = Path("pack-shop") / "shop.db"


@dataclass(frozen=True, slots=True)
class Case:
    """A visit and the state it must leave: `query` over the shop's database must give exactly `rows` afterwards."""

    title: str
    customer_id: str
    locale: str
    messages: Sequence[str]
    query: str
    rows: Sequence[tuple[object, ...]]


CASES = (
    Case(
        "A damaged item, in English",
        "C-001",
        "en",
        (
            "Hi, the mug set from my order KW-1042 arrived broken. What can you do?",
            "No, that is not enough.",
            "Ok, yes please, do that.",
        ),
        "SELECT kind, amount_cents FROM refunds WHERE order_id = 'KW-1042'",
        [("partial", 747)],
    ),
    Case(
        "一张优惠券，用中文",
        "C-002",
        "zh",
        ("你好，能给我发一张优惠券吗？", "好的，可以。"),
        "SELECT reason, amount_cents, order_id FROM coupons WHERE customer_id = 'C-002'",
        [("delay", 500, "KW-1077")],
    ),
)


def play(keep: Path | None, *, model: str | None) -> bool:
    """Start the stack, play the cases, print the transcripts, stop. True when every case left the right state."""
    console = Console(soft_wrap=True, highlight=False)
    with ExitStack() as stack:
        data_dir = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keepword-demo-")))
        console.print("Starting the stack (the first start also downloads and converts the model) …")
        running = stack.enter_context(running_stack(data_dir, settings={"KEEPWORD_MODEL": model} if model else {}))
        console.print(f"Ready after {running.ready_s} s at {running.url}\n")
        return all([_played(console, running.url, data_dir / SHOP_DB, case) for case in CASES])


def _played(console: Console, url: str, database: Path, case: Case) -> bool:
    console.rule(case.title)
    with Visitor(url, customer_id=case.customer_id, locale=case.locale) as visitor:
        for message in case.messages:
            _print(console, visitor.say(message))
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        found = connection.execute(case.query).fetchall()
    right = found == list(case.rows)
    console.print(f"{case.query}\n  -> {found} {'as it must be' if right else f'but it must be {list(case.rows)}'}\n")
    return right


def _print(console: Console, turn: Turn) -> None:
    console.print(f"[bold]customer[/bold]  {turn.text}")
    console.print(f"[bold]desk[/bold]      {turn.reply}", markup=True)
    for action in turn.of("action"):
        record = action["record"]
        console.print(
            f"          [green]{record['proposal']['action']} {record['proposal']['args']}: {record['status']}[/green]"
        )
    plan = (turn.of("plan") or [{"plan": {}}])[0]["plan"]
    first = f"{turn.first_sentence_s:.1f}" if turn.first_sentence_s is not None else "-"
    console.print(
        f"[dim]          scenario {plan.get('scenario')}, {plan.get('act')}; clauses {', '.join(turn.clause_ids) or '-'}; "
        f"{turn.llm_calls} LLM calls; first sentence {first} s, turn {turn.done_s:.1f} s[/dim]"
    )
