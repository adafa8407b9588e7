"""How one turn or request went, as the customer saw it."""

from dataclasses import dataclass, field

OK = "ok"
REFUSED = "refused"  # 429: told to come later, and intended to be


@dataclass(slots=True)
class Outcome:
    """Times are the event loop's clock, seconds. `kind`: `ok`, `refused`, or what went wrong: `http_503`, `timeout`, `connect`,
    `cut` (the stream ended before its turn), `failed_…` (the turn ended in an error event), `unfinished` (still under way when
    the load ended). `accepted`: the server said 200, so the turn must end. `chunks_s`: when each piece of the reply came."""

    sent_s: float
    kind: str = "unfinished"
    accepted: bool = False
    turn_id: str = ""
    first_byte_s: float | None = None
    first_sentence_s: float | None = None
    done_s: float = 0.0
    chunks_s: list[float] = field(default_factory=list)
    retry_after_s: float | None = None
    refusals: int = 0
    usage: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.kind == OK
