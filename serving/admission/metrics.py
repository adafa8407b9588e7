"""What the gate decides, told to whoever keeps the metrics."""

from functools import partial

from serving.admission.gate import Gate
from serving.admission.place import Listener, Place, Reason
from serving.admission.pressure import BrownOut
from serving.admission.tickets import Priority
from serving.observe import metrics


class AdmissionMetrics(Listener):
    """Listens to the gate."""

    def __init__(self, told: metrics.AdmissionMetrics) -> None:
        self._told = told

    def let_in(self, place: Place, waited_s: float) -> None:
        ticket = place.ticket
        self._told.admitted(ticket.tenant, ticket.priority.name.lower(), waited_s)

    def refused(self, place: Place, reason: Reason, wait_s: float) -> None:
        ticket = place.ticket
        self._told.refused(ticket.tenant, ticket.priority.name.lower(), reason.value)

    def watch(self, gate: Gate, brown_out: BrownOut) -> None:
        """Gauges that are read when Prometheus asks."""
        reads: dict[str, metrics.Read] = {
            "brown_out": brown_out.highest,
            "in_flight": lambda: gate.in_flight,
            "limit": lambda: gate.limiter.limit,
            "limit_apart": lambda: min(gate.limiter.limit, gate.apart.limit),
            "tokens_in_flight": lambda: gate.tokens_in_flight,
            "token_budget": lambda: gate.token_budget,
            "held": lambda: float(gate.strain.holds),
            "tokens_per_s": gate.drain_tokens_per_s,
        }
        self._told.watch(reads, {priority.name.lower(): partial(gate.waiting, priority) for priority in Priority})
