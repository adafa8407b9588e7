"""Scripted visits for evaluations: random but legal-looking conversations of the shop's customers, no engine needed."""

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

from agents.domain.errors import EngineUnavailable
from agents.domain.pack import Pack
from agents.domain.words import Act
from agents.ports import ModelRequest, Retrieved
from serving.scripted import TableRetriever

DRAFTS = {
    "en": (
        "I'm sorry to hear that.",
        "I understand.",
        "Here is 500 EUR for you!",
        "Your parcel arrives tomorrow.",
        "Thank you.",
    ),
    "zh": ("很抱歉给您带来不便。", "明白了。", "我给您退款500元！", "谢谢您。"),
}
SAYS = {
    "en": {
        Act.ASKS: "please help me with this",
        Act.ACCEPTS: "yes please",
        Act.REJECTS: "no, more",
        Act.COUNTERS: "make it double",
    },
    "zh": {Act.ASKS: "请帮我处理", Act.ACCEPTS: "可以", Act.REJECTS: "不行，再多一点", Act.COUNTERS: "翻倍吧"},
}


class LabelRetriever:
    """A Retriever that reads its answer from the message's last word: `…|scenario|act`."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack

    def retrieve(self, text: str, locale: str, *, exemplars: int = 8, clauses: int = 6) -> Retrieved:
        _, scenario, act = text.rsplit("|", 2) if text.count("|") >= 2 else ("", "small_talk", Act.GREETS)
        table = TableRetriever(self._pack, {text: (scenario, Act(act))})
        return table.retrieve(text, locale, exemplars=exemplars, clauses=clauses)


def labelled(text: str, scenario: str, act: Act) -> str:
    return f"{text} |{scenario}|{act.value}"


def visit(rng: random.Random, pack: Pack, orders: dict[str, list[str]]) -> tuple[str, str, list[str]]:
    """One customer, locale and the messages of a visit. `orders` maps each customer to their order numbers."""
    customer, locale = rng.choice(sorted(orders)), rng.choice(pack.locales)
    scenario = rng.choice(sorted(pack.scenarios))
    named = rng.choice(orders[customer]) if rng.random() < 0.9 else rng.choice(orders[rng.choice(sorted(orders))])
    acts = [Act.ASKS, *(rng.choice((Act.ACCEPTS, Act.ACCEPTS, Act.REJECTS, Act.COUNTERS)) for _ in range(rng.randint(1, 3)))]
    says = SAYS[locale]
    return customer, locale, [labelled(f"{says[act]} {named if act is Act.ASKS else ''}", scenario, act) for act in acts]


def moody(rng: random.Random, pack: Pack) -> Callable[[ModelRequest], str]:
    """A model that plans and drafts anything, and is sometimes down."""

    def script(request: ModelRequest) -> str:
        if rng.random() < 0.1:
            raise EngineUnavailable("the engine is restarting")
        if request.structure is not None:
            return f"{rng.choice(sorted(pack.scenarios))} {rng.choice(list(Act)).value}"
        return rng.choice([*DRAFTS["en"], *DRAFTS["zh"]])

    return script


def orders_of(shop: Path) -> dict[str, list[str]]:
    """Customer -> order numbers, from the shop's database."""
    found: dict[str, list[str]] = {}
    with sqlite3.connect(shop) as database:
        for customer, order in database.execute("SELECT customer_id, id FROM orders ORDER BY id"):
            found.setdefault(customer, []).append(order)
    return found


def sellers_of(shop: Path) -> dict[str, str]:
    """Customer -> seller account."""
    with sqlite3.connect(shop) as database:
        return dict(database.execute("SELECT customer_id, id FROM sellers").fetchall())
