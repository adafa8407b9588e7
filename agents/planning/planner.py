"""The planning agent: names the scenario, the act, the risk, the slots and what is missing.

Two witnesses speak: retrieval (calibrated label probabilities from the exemplars) and the model (probabilities of the tokens
its grammar allows). Their weighted log-probabilities are added. When the model gives nothing usable, retrieval decides alone.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from agents.domain.brownout import Brownout
from agents.domain.errors import ModelFailure, Overloaded
from agents.domain.pack import Pack
from agents.domain.session import SessionState
from agents.domain.words import Act, Plan, Slot
from agents.planning.consent import plain_yes
from agents.planning.grounding import extract
from agents.planning.prompt import plan_request
from agents.ports import Model, ModelResult, Retrieved, Retriever
from agents.stages import stage
from retrieval.threads import in_search_thread

ANSWERS = frozenset({Act.ACCEPTS, Act.REJECTS, Act.COUNTERS, Act.SUPPLIES})
_SEGMENT = re.compile(r"[^.!?;。！？；\n]+")
ALSO_PROBABILITY = 0.8  # a second request is noted only when its own sentence says so clearly
SURE_SCENARIO, SURE_ACT = 0.8, 0.6  # probabilities from which retrieval may plan alone when the engine has too much to do
MIN_SEGMENT_CHARS = 6
MAX_SEGMENTS = 4
MAX_ANSWER_CHARS = 40  # a message that gives an id and little else answers the desk's question


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights of the model's log-probabilities against retrieval's (weight 1)."""

    scenario: float = 0.6
    act: float = 0.25


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what led to it. `result` is None when the model was no help; `calls` is how often it was asked."""

    plan: Plan
    retrieved: Retrieved
    result: ModelResult | None
    scenarios: Mapping[str, float]
    acts: Mapping[str, float]
    calls: int = 1


class Planner:
    def __init__(self, pack: Pack, model: Model, retriever: Retriever, fusion: Fusion | None = None) -> None:
        self._pack = pack
        self._model = model
        self._retriever = retriever
        self._fusion = fusion or Fusion()

    async def plan(
        self,
        state: SessionState,
        text: str,
        *,
        locale: str,
        deadline_s: float = 10.0,
        level: Brownout = Brownout.NORMAL,
    ) -> Planned:
        """Plan for `text`, the message after `state`. Never raises ModelFailure: retrieval then decides alone, as it does at
        a high `level`."""
        with stage("retrieve"):
            retrieved, further = await in_search_thread(self._recall, text, locale)
        if state.open_offer is not None and plain_yes(text):
            return self._agreed(state, text, retrieved, state.open_offer.scenario)
        if level >= Brownout.HANDOFF or (level >= Brownout.WORDING and sure(retrieved)):
            return replace(self._decide(state, text, retrieved, further, None), calls=0)
        request = plan_request(self._pack, state, text, retrieved.exemplars, deadline_s=deadline_s)
        try:
            result = await self._model.generate(request)
        except (ModelFailure, Overloaded):
            return self._decide(state, text, retrieved, further, None)
        return self._decide(state, text, retrieved, further, result)

    def _agreed(self, state: SessionState, text: str, retrieved: Retrieved, scenario: str) -> Planned:
        """A plain yes to the open offer needs no model, and no model can make it a no."""
        slots, missing = self._slots(state, scenario, text)
        risk = self._pack.scenarios[scenario].risk
        plan = Plan(scenario, (), Act.ACCEPTS, risk, slots, missing, confidence=1.0, source="words")
        return Planned(plan, retrieved, None, {scenario: 1.0}, {Act.ACCEPTS: 1.0}, calls=0)

    def _decide(
        self, state: SessionState, text: str, retrieved: Retrieved, further: tuple[str, ...], result: ModelResult | None
    ) -> Planned:
        scenarios, acts = dict(retrieved.scenarios), dict(retrieved.acts)
        if result is not None:
            named = result.text.partition(" ")[0]
            by_scenario = opinion(result, {id_: f"{id_} " for id_ in self._pack.scenarios})
            by_act = opinion(result, {act.value: f"{named} {act.value}" for act in Act}, known=len(named))
            scenarios = fuse(scenarios, by_scenario, self._fusion.scenario)
            acts = fuse(acts, by_act, self._fusion.act)
        act_now = Act(max(acts, key=acts.__getitem__))
        scenario, confidence = self._scenario(state, scenarios, act_now, acts[act_now.value], text)
        slots, missing = self._slots(state, scenario, text)
        source: Literal["model", "retrieval"] = "retrieval" if result is None else "model"
        plan = Plan(
            scenario=scenario,
            also=tuple(other for other in further if other != scenario),
            act=act_now,
            risk=self._pack.scenarios[scenario].risk,
            slots=slots,
            missing=missing,
            confidence=round(confidence, 4),
            source=source,
        )
        return Planned(plan, retrieved, result, scenarios, acts)

    def _scenario(
        self, state: SessionState, scenarios: Mapping[str, float], act: Act, certainty: float, text: str
    ) -> tuple[str, float]:
        """The scenario, and how sure it is. An answer to what the desk is waiting for stays in its scenario, unless the message
        plainly opens another one: it is as sure as that it is an answer."""
        best = max(scenarios, key=scenarios.__getitem__)
        opened = best, scenarios[best]
        current = state.open_offer.scenario if state.open_offer is not None else state.scenario
        if current is None or best == current:
            return opened
        asked_for = [slot for slot in self._slots_of(current) if slot.name not in state.slots]
        if state.open_offer is None and not asked_for:
            return opened
        supplied = bool(extract(text, asked_for)) and len(text) < MAX_ANSWER_CHARS
        answers = act in ANSWERS or (act is Act.GREETS and state.open_offer is not None)
        held = supplied or (answers and certainty >= scenarios[best] * 0.6)
        return (current, 1.0 if supplied else certainty) if held else opened

    def _slots_of(self, scenario: str) -> list[Slot]:
        return [self._pack.slots[name] for name in self._pack.scenarios[scenario].slots]

    def _slots(self, state: SessionState, scenario: str, text: str) -> tuple[dict[str, str], tuple[str, ...]]:
        """Values from this message, else those of the open offer it may answer, else from earlier ones; a slot named twice with
        different values is asked for."""
        now = extract(text, self._slots_of(scenario))
        filled = {name: values[0] for name, values in now.items() if len(values) == 1}
        offer = state.open_offer
        answered: dict[str, Any] = {}
        for proposal in reversed(offer.proposals if offer is not None and offer.scenario == scenario else ()):
            answered |= proposal.args
        for name in self._pack.scenarios[scenario].slots:
            if name in now:
                continue
            if answered.get(name):
                filled[name] = str(answered[name])
            elif name in state.slots:
                filled[name] = state.slots[name]
        missing = tuple(name for name in self._pack.scenarios[scenario].slots if name not in filled)
        return filled, missing

    def _recall(self, text: str, locale: str) -> tuple[Retrieved, tuple[str, ...]]:
        """What retrieval says of the message, and the scenarios its single sentences clearly ask for."""
        retrieved = self._retriever.retrieve(text, locale)
        segments = [segment.strip() for segment in _SEGMENT.findall(text)]
        segments = [segment for segment in segments if len(segment) >= MIN_SEGMENT_CHARS][:MAX_SEGMENTS]
        found: dict[str, None] = {}
        for segment in segments if len(segments) > 1 else ():
            scenarios = self._retriever.retrieve(segment, locale, exemplars=0, clauses=0).scenarios
            best = max(scenarios, key=scenarios.__getitem__)
            if best != "small_talk" and scenarios[best] >= ALSO_PROBABILITY:
                found[best] = None
        return retrieved, tuple(found)


def sure(retrieved: Retrieved) -> bool:
    """Whether retrieval alone knows what is wanted."""
    return max(retrieved.scenarios.values()) >= SURE_SCENARIO and max(retrieved.acts.values()) >= SURE_ACT


def fuse(prior: Mapping[str, float], opinion: Mapping[str, float], weight: float) -> dict[str, float]:
    """Product of experts: prior x opinion^weight, normalised. Probabilities below 1e-4 count as 1e-4."""
    raw = {label: math.log(max(p, 1e-4)) + weight * math.log(max(opinion.get(label, 0.0), 1e-4)) for label, p in prior.items()}
    top = max(raw.values())
    total = sum(math.exp(value - top) for value in raw.values())
    return {label: math.exp(value - top) / total for label, value in raw.items()}


def opinion(result: ModelResult, labels: Mapping[str, str], *, known: int = 0) -> dict[str, float]:
    """Label -> probability the model gave its wording, from the tokens it weighed; `labels` maps labels to wordings of which
    the first `known` characters stand fixed. Where a wording parts from the text written, what it had until there counts: of
    several that a token does not tell apart, each an equal share. Without probabilities the label written has 1."""
    found = dict.fromkeys(labels, 0.0)
    open_, weight, at = list(labels), 1.0, 0
    for weighed in result.token_logprobs:
        chosen = max(weighed, key=weighed.__getitem__)
        if at + len(chosen) > known:
            meant = {token: [label for label in open_ if token and _agree(labels[label][at:], token)] for token in weighed}
            for token, logprob in weighed.items():
                for label in meant[token] if token != chosen else ():
                    found[label] += weight * math.exp(logprob) / len(meant[token])
            open_, weight = meant[chosen], weight * math.exp(weighed[chosen])
        at += len(chosen)
        if len(open_) < 2:
            break
    else:
        open_ = [label for label in open_ if _agree(labels[label], result.text)]
    for label in open_:
        found[label] += weight / len(open_)
    return found


def _agree(wording: str, token: str) -> bool:
    """Whether `token` can be the next piece of `wording`: one begins with the other."""
    return wording.startswith(token) or (bool(wording) and token.startswith(wording))
