"""The queue: classes by priority, tenants inside a class, each served in proportion to its weight.

Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) at both levels, its cost the estimated tokens, and several served
at once (Jin, Chase and Kaur, SIGMETRICS 2004). What a turn really cost is charged to its tenant afterwards, as in the virtual
token counter (Sheng et al., OSDI 2024). A full queue drops from its longest flow (McKenney, INFOCOM 1990).
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serving.admission.tickets import Priority

CLASS_WEIGHTS: Mapping[Priority, float] = {Priority.CUSTOMER: 16.0, Priority.OPERATOR: 3.0, Priority.BATCH: 1.0}
"""While all three wait, customers get 80 % of the tokens, operators 15 % and batch work 5 %; what one leaves, others take."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One waiting piece of work. `tokens` is its estimated cost."""

    item: T
    priority: Priority
    tenant: str
    tokens: float
    weight: float


@dataclass
class _Tag:
    """The next start tag of a class or a flow, and what waits under it."""

    start: float = 0.0
    waiting: int = 0
    tokens: float = 0.0

    def wakes(self, virtual: float) -> None:
        if not self.waiting:
            self.start = max(self.start, virtual)


@dataclass
class _Flow(_Tag, Generic[T]):
    weight: float = 1.0
    entries: deque[Entry[T]] = field(default_factory=deque)


@dataclass
class _Class(_Tag, Generic[T]):
    virtual: float = 0.0
    flows: dict[str, _Flow[T]] = field(default_factory=dict)


class FairQueue(Generic[T]):
    """Pure bookkeeping: no clock, no tasks."""

    def __init__(self, class_weights: Mapping[Priority, float] = CLASS_WEIGHTS) -> None:
        self._weights, self.credit_tokens = class_weights, 0.0
        self._classes: dict[Priority, _Class[T]] = {priority: _Class() for priority in Priority}
        self._virtual = 0.0

    def __len__(self) -> int:
        return sum(each.waiting for each in self._classes.values())

    def waiting(self, priority: Priority) -> int:
        return self._classes[priority].waiting

    @property
    def tokens(self) -> float:
        return sum(each.tokens for each in self._classes.values())

    def push(self, entry: Entry[T]) -> None:
        group = self._classes[entry.priority]
        flow = group.flows.setdefault(entry.tenant, _Flow(start=-math.inf))
        flow.weight = entry.weight
        group.wakes(self._virtual)
        flow.wakes(self._earliest(group, flow))
        flow.entries.append(entry)
        for tag in (group, flow):
            tag.waiting, tag.tokens = tag.waiting + 1, tag.tokens + entry.tokens

    def pop(self, may: Callable[[T], bool]) -> Entry[T] | None:
        """The next entry that `may` go: the first of a flow, flows in order of their tags. None when nothing may."""
        for group, flow in self._in_order():
            entry = flow.entries[0]
            if not may(entry.item):
                continue
            self._virtual, group.virtual = max(self._virtual, group.start), max(group.virtual, flow.start)
            self._take(entry, flow, group)
            group.start += entry.tokens / self._weights[entry.priority]
            flow.start += entry.tokens / entry.weight
            self._forget_idle(group)
            return entry
        return None

    def remove(self, entry: Entry[T]) -> None:
        """Give up a place. Nothing is charged for it."""
        group = self._classes[entry.priority]
        self._take(entry, group.flows[entry.tenant], group)

    def charge(self, entry: Entry[T], tokens: float) -> None:
        """`entry` cost `tokens`, not what was estimated: its class and tenant start later or earlier from now on."""
        more, group = tokens - entry.tokens, self._classes[entry.priority]
        group.start += more / self._weights[entry.priority]
        flow = group.flows.setdefault(entry.tenant, _Flow(start=-math.inf, weight=entry.weight))
        flow.start = max(flow.start, self._earliest(group, flow)) + more / entry.weight

    def longest(self, priority: Priority) -> Entry[T] | None:
        """The last entry of the flow that waits for most, measured by weight, in the least urgent class that is no more urgent
        than `priority`: what a full queue drops. None when only more urgent work waits."""
        for group in reversed([self._classes[each] for each in Priority if each >= priority]):
            flows = [flow for flow in group.flows.values() if flow.waiting]
            if flows:
                return max(flows, key=lambda flow: flow.tokens / flow.weight).entries[-1]
        return None

    def share(self, priority: Priority, tenant: str, weight: float) -> float:
        """The part of all tokens a tenant of a class gets while everything that waits now goes on waiting."""
        classes = sum(self._weights[each] for each, group in self._classes.items() if group.waiting or each is priority)
        flows = self._classes[priority].flows
        others = sum(flow.weight for name, flow in flows.items() if flow.waiting and name != tenant)
        return self._weights[priority] / classes * weight / (others + weight)

    def credit(self, priority: Priority, tenant: str) -> float:
        """Tokens a tenant has used less than the one that was served last, both by weight; negative when it used more."""
        group = self._classes[priority]
        flow = group.flows.get(tenant)
        return self.credit_tokens if flow is None else group.virtual - max(flow.start, self._earliest(group, flow))

    def queued(self, priority: Priority, tenant: str) -> tuple[int, float]:
        """How many entries of a tenant wait in a class, and their tokens."""
        flow = self._classes[priority].flows.get(tenant)
        return (flow.waiting, flow.tokens) if flow else (0, 0.0)

    def __iter__(self) -> Iterator[Entry[T]]:
        return (entry for group in self._classes.values() for flow in group.flows.values() for entry in tuple(flow.entries))

    def _in_order(self) -> Iterator[tuple[_Class[T], _Flow[T]]]:
        groups = [(group.start, priority, group) for priority, group in self._classes.items() if group.waiting]
        for _, _, group in sorted(groups, key=lambda each: each[:2]):
            flows = [flow for flow in group.flows.values() if flow.waiting]
            for flow in sorted(flows, key=lambda each: each.start):
                yield group, flow

    def _earliest(self, group: _Class[T], flow: _Flow[T]) -> float:
        return group.virtual - self.credit_tokens / flow.weight

    def _take(self, entry: Entry[T], flow: _Flow[T], group: _Class[T]) -> None:
        flow.entries.remove(entry)
        for tag in (group, flow):
            tag.waiting -= 1
            tag.tokens = tag.tokens - entry.tokens if tag.waiting else 0.0

    def _forget_idle(self, group: _Class[T]) -> None:
        """A flow with nothing waiting and no debt is as good as new."""
        idle = [name for name, flow in group.flows.items() if not flow.waiting and flow.start <= self._earliest(group, flow)]
        for tenant in idle:
            del group.flows[tenant]
