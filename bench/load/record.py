"""A worker's book: outcomes into figures, handed out window by window."""

import math
import time
from dataclasses import dataclass, field
from itertools import pairwise

from bench.load.figures import Figures, Window
from bench.load.outcome import OK, REFUSED, Outcome
from bench.load.plan import LoadPlan


@dataclass(slots=True)
class Book:
    """`begin_s` is when the load began, on the event loop's clock. Turns meant for the warm-up are counted apart; what went
    wrong in it still counts."""

    plan: LoadPlan
    worker: int
    begin_s: float
    figures: Figures = field(default_factory=Figures)
    under_way: dict[int, float] = field(default_factory=dict)  # id -> when it was meant to be sent
    sessions_open: int = 0
    accepted: dict[str, int] = field(default_factory=dict)  # session -> turns the desk took
    first_sent_s: float = math.inf
    last_done_s: float = 0.0
    _window_from_s: float = 0.0

    def started(self, number: int, intended_s: float) -> None:
        self.under_way[number] = intended_s
        self.figures.count("sent")

    def ended(self, number: int, outcome: Outcome, session_id: str) -> None:
        """Write down how turn `number` went."""
        intended_s = self.under_way.pop(number)
        figures, slo = self.figures, self.plan.slo
        figures.count("ended")
        self.first_sent_s = min(self.first_sent_s, outcome.sent_s)
        self.last_done_s = max(self.last_done_s, outcome.done_s)
        figures.count("refusals", outcome.refusals + (outcome.kind == REFUSED))
        if outcome.kind == REFUSED and outcome.retry_after_s is None:
            figures.count("refusals_without_retry_after")
        if outcome.accepted:
            figures.count("accepted")
            if session_id:
                self.accepted[session_id] = self.accepted.get(session_id, 0) + 1
        if outcome.kind not in (OK, REFUSED):
            figures.count(f"error_{outcome.kind}")
        if intended_s - self.begin_s < self.plan.warmup_s:
            figures.count("warmup")
            return
        figures.count("measured")
        figures.count(f"kind_{outcome.kind}")
        for name, value in outcome.usage.items():
            figures.count(f"usage_{name}", value)
        if not outcome.ok:
            return
        first = outcome.first_sentence_s or outcome.done_s
        figures.time("turn", outcome.done_s - intended_s)
        figures.time("turn_sent", outcome.done_s - outcome.sent_s)
        figures.time("first_sentence", first - intended_s)
        figures.time("first_sentence_sent", first - outcome.sent_s)
        if outcome.first_byte_s is not None:
            figures.time("ttft", outcome.first_byte_s - intended_s)
            figures.time("ttft_sent", outcome.first_byte_s - outcome.sent_s)
        for before, after in pairwise(outcome.chunks_s):
            figures.time("gap", after - before)
        if outcome.done_s - intended_s <= slo.turn_s and first - intended_s <= slo.first_s:
            figures.count("good")

    def window(self, now_s: float) -> Window:
        """Everything since the last window; begins a new one."""
        figures, self.figures = self.figures, Figures()
        begin_s, self._window_from_s = self._window_from_s, now_s - self.begin_s
        limit_s, warm_s = now_s - self.plan.slo.turn_s, self.begin_s + self.plan.warmup_s
        return Window(
            worker=self.worker,
            begin_s=round(begin_s, 3),
            end_s=round(now_s - self.begin_s, 3),
            counts=dict(figures.counts),
            histograms=figures.encoded(),
            sessions_open=self.sessions_open,
            in_flight=len(self.under_way),
            overdue=sum(warm_s <= intended_s < limit_s for intended_s in self.under_way.values()),
            cpu_s=round(time.process_time(), 3),
        )
