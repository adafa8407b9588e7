"""The metrics of every replica in one text. A replica's series carry its own labels, so that nothing is counted twice."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from agents.privacy import masked_log
from serving.observe.metrics import ReplicaMetrics

log = masked_log("keepword.observe")
TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One replica's metrics in Prometheus' text format, at one moment. `deployment` is desk or engine."""

    deployment: str
    replica: str
    text: bytes


Ask = Callable[[], Awaitable[Iterable[Snapshot | None]]]
"""The snapshots of one deployment's replicas, None for one that did not answer. May raise: then all of them are missing."""


class Scrape:
    """What /metrics answers: the metrics of this process, which is `replica` of `deployment`, and those of every replica that
    `others` can ask. Each replica is in it once."""

    def __init__(
        self,
        deployment: str,
        replica: str,
        take: Callable[[], bytes],
        metrics: ReplicaMetrics,
        others: Mapping[str, Ask],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._deployment, self._replica, self._take = deployment, replica, take
        self._metrics, self._others, self._timeout_s = metrics, others, timeout_s

    def mine(self) -> Snapshot:
        return Snapshot(self._deployment, self._replica, self._take())

    async def text(self) -> bytes:
        """Never raises for a replica that does not answer: it is missing, and the text says so."""
        answers = await asyncio.gather(*(self._asked(of, ask) for of, ask in self._others.items()))
        me = (self._deployment, self._replica)
        found = {at: each for answer in answers for each in answer if (at := (each.deployment, each.replica)) != me}
        found[me] = self.mine()  # last: with what this scrape itself found out
        return joined(each for _, each in sorted(found.items()))

    async def _asked(self, of: str, ask: Ask) -> list[Snapshot]:
        answers: list[Snapshot | None] = [None]
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = list(await ask())
        except Exception as error:  # whatever a replica's absence looks like today
            log.warning("no metrics of the deployment %s: %s", of, type(error).__name__)
        if None in answers:
            self._metrics.missed(of)
        return [each for each in answers if each is not None]


def joined(snapshots: Iterable[Snapshot]) -> bytes:
    """One text: each family once, with the samples of all replicas, labelled `deployment` and `replica`."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for each in snapshots:
        label, family = f'deployment="{each.deployment}",replica="{each.replica}"', ""
        for line in each.text.decode().splitlines():
            if line.startswith("# "):
                _, kind, family, *_ = line.split(" ", 3)
                head = heads.setdefault(family, [])
                if not any(known.startswith(f"# {kind} ") for known in head):
                    head.append(line)
            elif line:
                samples.setdefault(family, []).append(_labelled(line, label))
    lines = (line for family, head in heads.items() for line in (*head, *samples.get(family, ())))
    return ("\n".join(lines) + "\n").encode()


def _labelled(sample: str, label: str) -> str:
    """`name{a="b"} 1` or `name 1` with two labels more."""
    name, space, value = sample.partition(" ")
    brace = name.find("{")
    if brace < 0:
        return f"{name}{{{label}}}{space}{value}"
    return f"{sample[: brace + 1]}{label},{sample[brace + 1 :]}"
