"""What a load is: where it goes, when it arrives, who comes, how long they think, and what counts as good."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from agents.domain.errors import BadInput

MAX_CUSTOMERS, MAX_RATE_PER_S, MAX_SECONDS, MAX_PROCESSES = 50_000, 20_000.0, 6 * 3600.0, 64
Shape = Literal["poisson", "bursts", "ramp", "steady", "closed"]
Arriving = Literal["turns", "visits"]
Law = Literal["exponential", "lognormal", "constant"]


def loopback(url: str) -> str:
    """`url` without a trailing slash, if it points at this machine. Raises BadInput otherwise: a load generator aimed at a
    stranger by a slip of the pen is an attack."""
    parts = urlsplit(url)
    hint = "Load goes to 127.0.0.0/8, localhost or [::1] only, for example --url http://127.0.0.1:8000."
    if parts.scheme != "http" or parts.hostname is None:
        raise BadInput(f"--url {url!r} is not an http address", field="url", hint=hint)
    try:
        here = ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        here = parts.hostname == "localhost"
    if not here:
        raise BadInput(f"--url {url!r} is not this machine", field="url", hint=hint)
    return url.rstrip("/")


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When load arrives. `rate_per_s` is in turns; `bursts` goes between `burst_factor` times the rate for a `burst_share` of
    the time, in stretches of `burst_s` on average, and what is left of the rate; `ramp` goes from `rate_per_s` to
    `end_rate_per_s`; `closed` has no rate: customers come back when they have thought. `of`: whether each arrival is one turn
    of whoever has waited longest, or a new customer who then plays a whole visit."""

    shape: Shape = "poisson"
    rate_per_s: float = 10.0
    end_rate_per_s: float = 0.0
    burst_factor: float = 4.0
    burst_share: float = 0.2
    burst_s: float = 5.0
    of: Arriving = "turns"


@dataclass(frozen=True, slots=True)
class Think:
    """Time between a reply and the customer's next message, seconds."""

    mean_s: float = 5.0
    law: Law = "exponential"


@dataclass(frozen=True, slots=True)
class Slo:
    """A turn is good when its first sentence is there within `first_s` and all of it within `turn_s`, counted from when it
    was meant to be sent. A load meets the objective when `share` of its turns are good; a refused turn is not."""

    first_s: float = 2.0
    turn_s: float = 5.0
    share: float = 0.99


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat request of the target `openai`: tokens in, of which `prefix_tokens` every request shares, and tokens out.
    `ignore_eos` asks for all of them (vLLM's parameter; other servers may refuse it). `file` names a JSON list of texts to send
    in turn instead, one each."""

    model: str = ""
    input_tokens: int = 512
    prefix_tokens: int = 0
    output_tokens: int = 128
    ignore_eos: bool = True
    file: str = ""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One load. `customers` sit at the desk from the start: in a closed loop for good, in an open one as the first to speak.
    Turns meant for the first `warmup_s` are not counted. After `max_turns` nobody speaks any more (0: no such end). A window of
    figures is reported every `window_s`."""

    url: str
    target: Literal["desk", "openai"] = "desk"
    arrivals: Arrivals = field(default_factory=Arrivals)
    customers: int = 20
    think: Think = field(default_factory=Think)
    slo: Slo = field(default_factory=Slo)
    duration_s: float = 20.0
    warmup_s: float = 5.0
    drain_s: float = 30.0
    timeout_s: float = 90.0
    window_s: float = 1.0
    processes: int = 1
    seed: int = 0
    max_turns: int = 0
    tenants: Mapping[str, float] = field(default_factory=dict)
    locales: tuple[str, ...] = ("en", "zh")
    retry_after: Literal["honour", "ignore"] = "ignore"
    prompt: Prompt = field(default_factory=Prompt)

    def __post_init__(self) -> None:
        loopback(self.url)
        self._within("customers", self.customers, 1, MAX_CUSTOMERS)
        self._within("processes", self.processes, 1, MAX_PROCESSES)
        self._within("duration_s", self.duration_s, 0.1, MAX_SECONDS)
        self._within("warmup_s", self.warmup_s, 0, self.duration_s)
        self._within("rate_per_s", self.arrivals.rate_per_s, 0.01, MAX_RATE_PER_S)
        self._within("end_rate_per_s", self.arrivals.end_rate_per_s, 0, MAX_RATE_PER_S)
        self._within("burst_share", self.arrivals.burst_share, 0.01, 0.99)
        self._within("burst_factor", self.arrivals.burst_factor, 1, 1 / self.arrivals.burst_share)
        self._within("max_turns", self.max_turns, 0, 10_000_000)
        self._within("think_s", self.think.mean_s, 0, 3600)

    @staticmethod
    def _within(name: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            raise BadInput(f"{name} is {value:g}", field=name, hint=f"From {least:g} to {most:g}.")
