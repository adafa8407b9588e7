"""The loads of `bench calibrate`: what the cost of a step is fitted on, and five others it is checked on.

The two have no load in common: other numbers of callers, other lengths, arrivals that wait for nobody, shared prefixes.
"""

import random

from agents.ports import Message
from bench.simulator.loads import Ask, Load, story, words

FIT_CALLERS = ((1, 3, 128, 16), (4, 4, 64, 16), (16, 16, 64, 16), (48, 48, 40, 14))  # callers, asks, tokens in, out
FIT_PROMPTS = (60, 240, 700, 1500)
FIT_PAUSED, PAUSE_S = (80, 130, 210, 340, 550), 1.5
RATE_PER_S = 0.9
OPEN_ASKS = 14
BURSTS, BURST_SIZE, BURST_EVERY_S = 3, 6, 5.0
PREFIX_TOKENS = 480


def fit_loads(rng: random.Random) -> list[Load]:
    """Decoding at four batch sizes, prompts alone, prompts after a pause, prompts among decoding sequences, long contexts."""
    decoding = [
        Load(f"fit: {callers} callers", tuple(story(rng, into, out) for _ in range(asks)), callers)
        for callers, asks, into, out in FIT_CALLERS
    ]
    prompts = Load("fit: prompts alone", tuple(story(rng, tokens, 2) for tokens in FIT_PROMPTS), 1)
    paused = [story(rng, tokens, 3, at_s=PAUSE_S * number) for number, tokens in enumerate(FIT_PAUSED)]
    among = [story(rng, 60, 40) for _ in range(6)] + [story(rng, 350, 4, at_s=0.8 * (1 + number)) for number in range(3)]
    long = Load("fit: long contexts", tuple(story(rng, 1800, 10) for _ in range(3)), 3)
    spread = [Load("fit: prompts after a pause", tuple(paused)), Load("fit: prompts among others", tuple(among))]
    return [*decoding, prompts, *spread, long]


def check_loads(rng: random.Random) -> list[Load]:
    """Five loads, none of them used to fit."""
    return [
        Load("2 callers, 300 in, 32 out", tuple(story(rng, 300, 32) for _ in range(8)), 2),
        Load("8 callers, 512 in, 32 out", tuple(story(rng, 512, 32) for _ in range(16)), 8),
        Load("32 callers, 96 in, 40 out", tuple(story(rng, 96, 40) for _ in range(64)), 32),
        Load("Poisson arrivals, mixed lengths", tuple(_poisson(rng))),
        Load("bursts with a shared prefix", tuple(_bursts(rng))),
    ]


def _poisson(rng: random.Random) -> list[Ask]:
    at_s, asks = 0.0, []
    for _ in range(OPEN_ASKS):
        at_s += rng.expovariate(RATE_PER_S)
        tokens = int(min(600, max(60, rng.lognormvariate(5.1, 0.6))))
        asks.append(story(rng, tokens, rng.randint(8, 48), at_s))
    return asks


def _bursts(rng: random.Random) -> list[Ask]:
    prefix = Message("system", f"{rng.randrange(10**6)}: {words(rng, PREFIX_TOKENS)}")
    return [
        Ask((prefix, *story(rng, 75, 24).messages), 24, at_s=burst * BURST_EVERY_S)
        for burst in range(BURSTS)
        for _ in range(BURST_SIZE)
    ]
