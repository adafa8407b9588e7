"""Which replica answers: the one whose cache has the session's state or the prompt's beginning, unless it has too much to do.

Every replica has a rank for every key (rendezvous hashing: D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase
Hit Rates", 1998), so a replica that dies moves only its own sessions, and every router comes to the same order without talking
to others. The first in rank whose load stays within a bound of the average is taken ("Consistent Hashing with Bounded Loads",
V. Mirrokni, M. Thorup, M. Zadimoghaddam, SODA 2018): sticky, but not stuck. Without a key: power of two choices (M.
Mitzenmacher, 2001).
"""

import hashlib
import math
import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from agents.ports import ModelRequest

BALANCE: Final = 1.25
"""A replica takes at most this many times the average load, or it is passed over."""
PREFIX_CHARS: Final = 1024
GIVEN_S: Final = 2.0
"""So long a request counts as given out, if Serve gave it to another replica than the first after all."""
ROUTER: Final[Any] = "serving.routing:AffinityRouter"
_SESSION: Final = re.compile(rb"/v1/sessions/(ses_[0-9a-f]{1,64})")


def ranked(key: str, loads: Mapping[str, int], *, balance: float = BALANCE, slack: int = 0) -> list[str]:
    """Replicas in the order to try for `key`. `loads` are requests under way by replica id. A replica may hold `slack` requests
    whatever the others do: so few are no reason to move. Those beyond the bound come last, the least loaded first."""
    bound = max(slack, math.ceil(balance * (sum(loads.values()) + 1) / max(len(loads), 1)))
    order = sorted(loads, key=lambda replica: _weight(key, replica), reverse=True)
    return [r for r in order if loads[r] < bound] + sorted((r for r in order if loads[r] >= bound), key=loads.__getitem__)


def affinity_key(session_id: str, argument: object) -> str | None:
    """What a request belongs to: its session, named or in the path of an HTTP request (which comes pickled from Serve's proxy);
    else the beginning of its prompt. None when nothing is shared with another request."""
    if session_id:
        return session_id
    if isinstance(argument, bytes):
        found = _SESSION.search(argument)
        return None if found is None else found.group(1).decode()
    if isinstance(argument, ModelRequest):
        prompt = "\n".join(message.content for message in argument.messages)
        return prompt[:PREFIX_CHARS]
    return None


class AffinityRouter(RequestRouter):
    """Serve's router of one deployment, in every process that calls it. Loads are what that process knows: its own requests
    under way, corrected by what replicas report, and those it has just given out and not sent yet."""

    def initialize_state(self, **kwargs: Any) -> None:
        self._balance, self._slack = float(kwargs.get("balance", BALANCE)), int(kwargs.get("slack", 0))
        self._given: list[tuple[PendingRequest, ReplicaID]] = []

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        if pending_request is None or not candidate_replicas:
            return [candidate_replicas] if candidate_replicas else []
        pending_request.routing_context.should_backoff = True  # when none of them takes it
        first: Any = pending_request.args[0] if pending_request.args else None
        key = affinity_key(pending_request.metadata.session_id, first)
        if key is None:
            two = random.sample(candidate_replicas, min(2, len(candidate_replicas)))
            return [two, *([replica] for replica in candidate_replicas if replica not in two)]
        replicas = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        order = ranked(key, self._loads(candidate_replicas), balance=self._balance, slack=self._slack)
        self._given.append((pending_request, replicas[order[0]].replica_id))
        return [[replicas[replica_id]] for replica_id in order]

    def on_send_request(self, replica_id: ReplicaID) -> None:
        super().on_send_request(replica_id)
        sent = next((each for each in self._given if each[1] == replica_id and each[0].future.done()), None)
        if sent is not None:
            self._given.remove(sent)

    def _loads(self, replicas: Sequence[RunningReplica]) -> dict[str, int]:
        oldest = time.time() - GIVEN_S
        self._given = [each for each in self._given if not each[0].future.cancelled() and each[0].created_at > oldest]
        given, known = Counter(replica_id for _, replica_id in self._given), self.replica_queue_len_cache
        return {r.replica_id.unique_id: (known.get(r.replica_id) or 0) + given[r.replica_id] for r in replicas}


def affinity(*, slack: int, balance: float = BALANCE) -> RequestRouterConfig:
    """The configuration of a deployment that is to be routed so."""
    kwargs = {"balance": balance, "slack": slack}
    return RequestRouterConfig(request_router_class=ROUTER, request_router_kwargs=kwargs)


def _weight(key: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{key}\n{replica}".encode(), digest_size=8).digest()
