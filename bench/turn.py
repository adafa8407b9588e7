"""`keepword bench turn`: whole turns over HTTP against the real engine, one customer at a time, as the customer times them."""

import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.result import BenchResult, bar, quantile
from bench.stack import running_stack
from bench.visitor import Turn, Visitor

VISITS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("C-001", "en", ("Hello!", "The mugs from KW-1042 came in pieces", "no, too little", "fine, yes", "thank you, bye")),
    ("C-002", "zh", ("在吗", "我想要一张优惠券", "可以的", "谢谢")),
    ("C-003", "en", ("Where is my order KW-1009?", "ok thanks")),
    ("C-004", "zh", ("我的包裹好久了还没收到", "订单KW-1044", "好的")),
    ("C-005", "en", ("I want to return the cookbook, I do not like it. Order KW-1010", "Can I talk to a person?")),
    ("C-006", "zh", ("退款什么时候到账？订单号KW-1011", "那我要找人工客服")),
    ("C-028", "en", ("How do I become a seller here?", "my seller account is S-2003", "yes please send it")),
    ("C-001", "en", ("Cancel my order please", "KW-1007", "no")),
)
QUICK_VISITS = 2
FIRST_SENTENCE_P50_S, TURN_P50_S = 5.0, 8.0


def run(*, seed: int, quick: bool, model: str | None, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """Play every visit twice (two of them once when `quick`) in seeded order, against a stack of its own."""
    visits = list(VISITS[:QUICK_VISITS]) if quick else [*VISITS, *VISITS]
    random.Random(seed).shuffle(visits)
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory(prefix="keepword-turn-") as folder:
        settings = {"KEEPWORD_MODEL": model} if model else {}
        with running_stack(Path(folder), settings=settings) as stack:
            for number, (customer_id, locale, messages) in enumerate(visits, 1):
                with Visitor(stack.url, customer_id=customer_id, locale=locale) as visitor:
                    turns += [visitor.say(message) for message in messages]
                if progress is not None:
                    progress(number, len(visits))
            ready_s = stack.ready_s
    return _result(turns, ready_s)


def _result(turns: Sequence[Turn], ready_s: float) -> BenchResult:
    finished = [turn for turn in turns if turn.of("turn.done")]
    calls = [float(turn.llm_calls) for turn in finished]
    first = [turn.first_sentence_s or turn.done_s for turn in finished]
    whole = [turn.done_s for turn in finished]
    stages: dict[str, list[float]] = {}
    for turn in finished:
        for stage, seconds in turn.of("turn.done")[0]["timings"].items():
            stages.setdefault(stage, []).append(seconds)
    spoken = [sentence["source"] for turn in finished for sentence in turn.of("reply.sentence")]
    bars = {
        "turns_not_done": bar(len(turns) - len(finished), 0),
        "llm_calls_p50": bar(quantile(calls, 0.5), 2),
        "llm_calls_p99": bar(quantile(calls, 0.99), 3),
        "first_sentence_p50_s": bar(quantile(first, 0.5), FIRST_SENTENCE_P50_S),
        "turn_p50_s": bar(quantile(whole, 0.5), TURN_P50_S),
    }
    detail = {
        "turns": len(turns),
        "ready_s": ready_s,
        "first_sentence_s": {"p90": round(quantile(first, 0.9), 2), "max": round(max(first, default=0.0), 2)},
        "turn_s": {"p90": round(quantile(whole, 0.9), 2), "max": round(max(whole, default=0.0), 2)},
        "stage_p50_s": {stage: round(quantile(seconds, 0.5), 3) for stage, seconds in sorted(stages.items())},
        "sentences": {"model": spoken.count("model"), "pack": spoken.count("pack")},
    }
    return BenchResult("bench turn", bars, detail)
