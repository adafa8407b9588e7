"""Points: the true sentences a reply must say, in the pack's own wording. Everything the model adds is checked against them."""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from agents.domain.money import Money
from agents.domain.pack import Pack
from agents.domain.render import fill
from agents.domain.words import ActionRecord, ActionStatus, Clause, Facts, Handoff, Locale, Offer, Ruling, Texts, Verdict
from agents.ledger.steps import Standing, standing


class Points:
    """Builds points for one reply in one locale. Each method returns complete sentences, never a template."""

    def __init__(self, pack: Pack, locale: Locale) -> None:
        self._pack = pack
        self._locale = locale if locale in pack.locales else pack.locales[0]

    def text(self, key: str, values: Mapping[str, Any] | None = None) -> str:
        """The pack's fixed text `key`. Raises KeyError when a placeholder of it has no value."""
        return self._fill(self._pack.texts[key][self._locale], values or {}, key)

    def ask(self, slot: str) -> str:
        return self._pack.slots[slot].ask[self._locale]

    def offer(self, offer: Offer) -> list[str]:
        """The terms with the clause that permits them, and the question for a yes."""
        return [offer.text[self._locale] + self._cites(offer.clause_ids), self.text("confirm")]

    def results(self, offer: Offer, lines: Sequence[ActionRecord], facts: Facts) -> list[str]:
        """What became of an offer that was carried out: each step that is done, each that was undone, from the tools' receipts,
        and whether anything is missing or not known. `lines` are its ledger lines, the first step's at least."""
        said: dict[str, None] = {}
        steps = {line.step: line for line in lines if not line.undoes}
        for number, step in enumerate(offer.steps):
            line = steps.get(number)
            if line is not None and line.status is ActionStatus.DONE:
                said[self._result(step.done, step.amount, line, facts) or offer.text[self._locale]] = None
            elif line is not None and line.status is ActionStatus.UNDONE:
                said[self._result(step.undone, step.amount, line, facts) or self.text("undone")] = None
        match standing(lines):
            case Standing.FAILED:
                return [self.text("failed")]
            case Standing.UNDONE:
                return list({self.text("undone"): None} | said)
            case Standing.HALF_DONE:
                return [*said, self.text("half_done")]
            case Standing.PENDING:
                return [*said, self.text("unfinished")] if said else [self.text("pending")]
        return list(said)

    def denied(self, verdicts: Sequence[Verdict]) -> list[str]:
        """Why nothing can be offered: the deciding clauses' own wording, the rung asked for first."""
        denial = next((verdict for verdict in verdicts if verdict.ruling is Ruling.DENY), None)
        if denial is None or not denial.clause_ids:
            return [self.text("denied")]
        clauses = [self._pack.clause(clause_id) for clause_id in denial.clause_ids[:2]]
        return [self.text("denied"), *(self._clause(clause) for clause in clauses)]

    def tell(self, scenario: str, facts: Facts) -> str | None:
        """The scenario's answer from facts; None when it has none or a fact is missing."""
        text = self._pack.scenarios[scenario].tell.get(self._locale)
        return fill(text, facts, self._pack.currency) if text else None

    def handoff(self, handoff: Handoff) -> str:
        due = handoff.due_at.astimezone(ZoneInfo(self._pack.timezone)).strftime("%Y-%m-%d %H:%M %Z")
        return self.text("handoff", {"owner": handoff.owner, "due": due})

    def also(self, scenario: str) -> str:
        return self.text("also", {"title": self._pack.scenarios[scenario].title[self._locale]})

    def _clause(self, clause: Clause) -> str:
        return clause.body[self._locale].strip() + self._cites((clause.id,))

    def _cites(self, clause_ids: Sequence[str]) -> str:
        cites = dict.fromkeys(self._pack.clause(clause_id).cite[self._locale] for clause_id in clause_ids)
        space = "" if self._locale == "zh" else " "
        return f"{space}[{'; '.join(cites)}]" if cites else ""

    def _result(self, texts: Texts, amount: Money | None, line: ActionRecord, facts: Facts) -> str | None:
        """None where the pack has no text, or the receipt not what it names."""
        values: dict[str, Any] = {**facts, "args": line.proposal.args, "receipt": line.result}
        values |= {"amount": str(amount)} if amount is not None else {}
        text = texts.get(self._locale)
        return fill(text, values, self._pack.currency) if text else None

    def _fill(self, text: str, values: Mapping[str, Any], key: str) -> str:
        filled = fill(text, values, self._pack.currency)
        if filled is None:
            raise KeyError(f"text {key!r} of pack {self._pack.name!r} has a placeholder without a value")
        return filled
