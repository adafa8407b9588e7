"""What turns usually take and cost, and what a flood of cut-down turns may not change about it."""

from dataclasses import dataclass, field

from agents.domain.brownout import Brownout
from serving.admission.gate import Gate, GateLimits
from serving.admission.pace import FIRST_TOKENS, Pace
from serving.admission.place import Listener, Place
from serving.admission.tickets import Ticket
from tests.fakes import SetClock


def test_the_usual_cost_is_that_of_whole_turns() -> None:
    pace = Pace()
    for at_s in range(10):
        pace.ended(1.0, 40.0, at_s)
    for at_s in range(10, 100):
        pace.ended(0.1, 5.0, at_s, whole=False)
    assert pace.tokens == 40.0
    assert pace.service_s(100.0) == 0.1


def test_without_a_whole_turn_the_usual_cost_is_not_known() -> None:
    pace = Pace()
    pace.ended(0.1, 5.0, 0.0, whole=False)
    assert pace.tokens == FIRST_TOKENS


@dataclass
class Slowness(Listener):
    heard: list[float] = field(default_factory=list)

    def left(self, place: Place, slowness: float | None) -> None:
        assert slowness is not None
        self.heard.append(slowness)


def test_beside_cut_down_turns_a_slow_turn_stays_slow() -> None:
    """Measured by the size of the cut-down ones it would count as eight times as long, and never as slow."""
    clock, slowness = SetClock(), Slowness()
    gate = Gate(GateLimits(target_s=2.0, in_flight_most=8), clock.monotonic, slowness)

    def turn(tokens: float, level: Brownout) -> None:
        place = gate.offer(Ticket(level.name))
        clock.move(3.0)
        gate.leave(place, tokens, level)

    for _ in range(8):
        turn(40.0, Brownout.NORMAL)
    for _ in range(64):
        turn(5.0, Brownout.WORDING)
    turn(40.0, Brownout.NORMAL)
    assert slowness.heard[-1] == 1.5
